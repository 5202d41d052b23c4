// SPDX-License-Identifier: Apache-2.0
// Every header that a kernel uses. A target includes this before it opens its region: an inline
// function first seen inside would be compiled for that instruction set, and the linker might keep
// that copy for the whole program.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <initializer_list>
#include <numeric>
#include <type_traits>
#include <utility>

#include "cache.h"
#include "kernel.h"
#include "parallel.h"
#include "scratch.h"
#include "target.h"

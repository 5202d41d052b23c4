// SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>
#include <omp.h>
NB_MODULE(_core, m) { m.def("threads", [] { return omp_get_max_threads(); }); }

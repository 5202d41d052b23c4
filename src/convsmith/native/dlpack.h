// SPDX-License-Identifier: Apache-2.0
// The part of DLPack 1's binary interface that is used here; its layout is fixed by the standard
// (dmlc.github.io/dlpack).
#pragma once
#include <cstdint>

namespace convsmith::dlpack {

struct Tensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t num_axes;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};

struct Table {
  std::uint32_t major, minor;
  const Table* previous;
  void* allocate;
  void* owning_from_object;
  void* owning_to_object;
  // Fills a tensor that stays the object's; not 0 and a Python error where it has none to show.
  int (*from_object)(void* object, Tensor* out);
  void* current_stream;
};

constexpr std::uint32_t kMajor = 1;

}  // namespace convsmith::dlpack

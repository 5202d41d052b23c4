// SPDX-License-Identifier: Apache-2.0
// What torch's tensors say of themselves, asked through DLPack's table of C functions: a call from
// Python for each address, size and stride of a network's weights costs as much as a layer.
#pragma once
#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace convsmith {

// The table that `torch.Tensor.__dlpack_c_exchange_api__` holds. True if this core understands it;
// none of the functions below may be called before.
bool use_dlpack_table(nanobind::handle capsule);

// Device, dtype, sizes and strides of tensors, as bytes: equal where all of these are.
nanobind::bytes layouts(nanobind::sequence tensors);

// The same with the addresses and version counters: equal only while torch counts no change.
// An entry may be None.
nanobind::bytes states(nanobind::sequence tensors);

// The parameters or buffers of a module at these paths of names, as they are now; None for ().
// KeyError where there is none.
nanobind::list look_up(nanobind::handle module, nanobind::tuple paths);

// The states of what look_up would find. The lines at the addresses, whatever they are, are fetched
// into the caches first.
nanobind::bytes states_at(nanobind::handle module, nanobind::tuple paths, std::uintptr_t addresses,
                          std::size_t count);

// The same, behind what is there already; and the fetching alone.
void add_layouts(nanobind::handle tensors, std::vector<std::int64_t>& into);
void add_states_at(nanobind::handle module, const nanobind::tuple& paths,
                   std::vector<std::int64_t>& into);
void fetch_headers(std::uintptr_t addresses, std::size_t count);

// Where each tensor's memory begins; a ValueError where one has none.
void add_addresses(nanobind::handle tensors, std::vector<std::int64_t>& into);

}  // namespace convsmith

// SPDX-License-Identifier: Apache-2.0
#include "tensors.h"

#include <cstdint>
#include <vector>

#include "dlpack.h"

namespace nb = nanobind;

namespace convsmith {
namespace {

// What stands for a tensor that is None.
constexpr std::int64_t kNone = -1;

// For one that DLPack cannot show (on "meta", say): never the same twice, for who knows it is.
std::int64_t new_unseen() {
  static std::int64_t last = kNone;
  return --last;
}

int (*from_object)(void*, dlpack::Tensor*) = nullptr;

struct Name {
  PyObject* text;
  explicit Name(const char* name) : text(PyUnicode_InternFromString(name)) {}
};

nb::object attribute(nb::handle object, const Name& name) {
  PyObject* found = PyObject_GetAttr(object.ptr(), name.text);
  if (found == nullptr) nb::raise_python_error();
  return nb::steal(found);
}

// torch counts the changes of a tensor in place, but for those made in inference mode.
std::int64_t version_of(nb::handle tensor) {
  static const Name is_inference("is_inference"), version("_version");
  PyObject* const self = tensor.ptr();
  // Without an object for the bound method.
  PyObject* uncounted = PyObject_VectorcallMethod(is_inference.text, &self, 1, nullptr);
  if (uncounted == nullptr) nb::raise_python_error();
  if (nb::steal(uncounted).is(nb::handle(Py_True))) return 0;
  return nb::cast<std::int64_t>(attribute(tensor, version));
}

enum class Say { layout, state };

void describe(nb::handle tensor, Say what, std::vector<std::int64_t>& into) {
  if (tensor.is_none()) return into.push_back(kNone);
  dlpack::Tensor seen;
  if (from_object(tensor.ptr(), &seen) != 0) {
    PyErr_Clear();
    return into.push_back(new_unseen());
  }
  into.insert(into.end(), {seen.num_axes, seen.device_type, seen.device_id, seen.code, seen.bits});
  into.insert(into.end(), seen.shape, seen.shape + seen.num_axes);
  into.insert(into.end(), seen.strides, seen.strides + seen.num_axes);
  if (what == Say::state) {
    into.push_back(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(seen.data)));
    into.push_back(version_of(tensor));
  }
}

nb::bytes as_bytes(const std::vector<std::int64_t>& numbers) {
  return nb::bytes(numbers.data(), numbers.size() * sizeof(std::int64_t));
}

void add_all(nb::handle tensors, Say what, std::vector<std::int64_t>& into) {
  for (nb::handle tensor : tensors) describe(tensor, what, into);
}

nb::bytes describe_all(nb::sequence tensors, Say what) {
  std::vector<std::int64_t> all;
  all.reserve(16 * nb::len(tensors));
  add_all(tensors, what, all);
  return as_bytes(all);
}

// Borrowed from a table of a module, which keeps it; null if it is not there.
PyObject* entry(nb::handle owner, const Name& table, nb::handle name) {
  const nb::object names = attribute(owner, table);
  PyObject* found = PyDict_GetItem(names.ptr(), name.ptr());
  return found == Py_None ? nullptr : found;
}

[[noreturn]] void missing(nb::handle name) { throw nb::key_error(nb::str(name).c_str()); }

// The modules on the way to a tensor. Neighbours of a network share most of it, and each module on
// it comes from memory.
class Way {
 public:
  explicit Way(nb::handle module) : owners_{module.ptr()} {}

  // None for no names.
  nb::handle follow(const nb::tuple& names) {
    if (names.size() == 0) return nb::handle(Py_None);
    static const Name modules("_modules"), parameters("_parameters"), buffers("_buffers");
    const std::size_t last = names.size() - 1;
    std::size_t depth = 0;
    while (depth < last && depth < names_.size() && names_[depth] == nb::handle(names[depth]).ptr())
      ++depth;
    owners_.resize(depth + 1);
    names_.resize(depth);
    for (; depth < last; ++depth) {
      PyObject* found = entry(owners_.back(), modules, names[depth]);
      if (found == nullptr) missing(names[depth]);
      owners_.push_back(found);
      names_.push_back(nb::handle(names[depth]).ptr());
    }
    PyObject* found = entry(owners_.back(), parameters, names[last]);
    if (found == nullptr) found = entry(owners_.back(), buffers, names[last]);
    if (found == nullptr) missing(names[last]);
    return found;
  }

 private:
  std::vector<PyObject*> owners_, names_;  // one owner more; equal names are the same object
};

}  // namespace

bool use_dlpack_table(nb::handle capsule) {
  const void* found = PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
  if (found == nullptr) nb::raise_python_error();
  const auto* table = static_cast<const dlpack::Table*>(found);
  while (table != nullptr && table->major != dlpack::kMajor) table = table->previous;
  from_object = table == nullptr ? nullptr : table->from_object;
  return from_object != nullptr;
}

nb::bytes layouts(nb::sequence tensors) { return describe_all(tensors, Say::layout); }

nb::bytes states(nb::sequence tensors) { return describe_all(tensors, Say::state); }

nb::list look_up(nb::handle module, nb::tuple paths) {
  nb::list found;
  Way way(module);
  for (nb::handle path : paths) found.append(way.follow(nb::borrow<nb::tuple>(path)));
  return found;
}

void fetch_headers(std::uintptr_t addresses, std::size_t count) {
  const auto* first = reinterpret_cast<const std::int64_t*>(addresses);
  for (std::size_t i = 0; i < count; ++i)
    __builtin_prefetch(reinterpret_cast<const void*>(static_cast<std::uintptr_t>(first[i])));
}

void add_layouts(nb::handle tensors, std::vector<std::int64_t>& into) {
  add_all(tensors, Say::layout, into);
}

void add_states_at(nb::handle module, const nb::tuple& paths, std::vector<std::int64_t>& into) {
  Way way(module);
  for (nb::handle path : paths) describe(way.follow(nb::borrow<nb::tuple>(path)), Say::state, into);
}

nb::bytes states_at(nb::handle module, nb::tuple paths, std::uintptr_t addresses,
                    std::size_t count) {
  fetch_headers(addresses, count);
  std::vector<std::int64_t> all;
  all.reserve(16 * paths.size());
  add_states_at(module, paths, all);
  return as_bytes(all);
}

void add_addresses(nb::handle tensors, std::vector<std::int64_t>& into) {
  for (nb::handle tensor : tensors) {
    dlpack::Tensor seen;
    if (from_object(tensor.ptr(), &seen) != 0) {
      PyErr_Clear();
      throw nb::value_error("a tensor has no memory to show");
    }
    const auto begin = reinterpret_cast<std::uintptr_t>(seen.data) + seen.byte_offset;
    into.push_back(static_cast<std::int64_t>(begin));
  }
}

}  // namespace convsmith

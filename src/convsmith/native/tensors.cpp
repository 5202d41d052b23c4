// SPDX-License-Identifier: Apache-2.0
#include "tensors.h"

#include <cstdint>
#include <vector>

#include "dlpack.h"

namespace nb = nanobind;

namespace convsmith {
namespace {

// What stands for a tensor that is None, and for one that DLPack cannot show (on "meta", say).
constexpr std::int64_t kNone = -1, kUnseen = -2;

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
  const nb::object uncounted = attribute(tensor, is_inference)();
  if (uncounted.is(nb::handle(Py_True))) return 0;
  return nb::cast<std::int64_t>(attribute(tensor, version));
}

enum class Say { layout, state };

void describe(nb::handle tensor, Say what, std::vector<std::int64_t>& into) {
  if (tensor.is_none()) return into.push_back(kNone);
  dlpack::Tensor seen;
  if (from_object(tensor.ptr(), &seen) != 0) {
    PyErr_Clear();
    return into.push_back(kUnseen);
  }
  into.insert(into.end(), {seen.num_axes, seen.device_type, seen.device_id, seen.code, seen.bits});
  into.insert(into.end(), seen.shape, seen.shape + seen.num_axes);
  into.insert(into.end(), seen.strides, seen.strides + seen.num_axes);
  if (what == Say::state) {
    into.push_back(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(seen.data)));
    into.push_back(version_of(tensor));
  }
}

nb::bytes describe_all(nb::list tensors, Say what) {
  std::vector<std::int64_t> all;
  all.reserve(16 * tensors.size());
  for (nb::handle tensor : tensors) describe(tensor, what, all);
  return nb::bytes(all.data(), all.size() * sizeof(std::int64_t));
}

// Borrowed, or null.
PyObject* entry(nb::handle owner, const Name& table, nb::handle name) {
  const nb::object names = attribute(owner, table);
  return PyDict_GetItem(names.ptr(), name.ptr());  // whoever owns the table keeps the entry
}

nb::handle entry_of_module(nb::handle owner, nb::handle name) {
  static const Name parameters("_parameters"), buffers("_buffers");
  PyObject* found = entry(owner, parameters, name);
  if (found == nullptr || found == Py_None) found = entry(owner, buffers, name);
  if (found == nullptr || found == Py_None) throw nb::key_error(nb::str(name).c_str());
  return found;
}

nb::handle submodule(nb::handle owner, nb::handle name) {
  static const Name modules("_modules");
  PyObject* found = entry(owner, modules, name);
  if (found == nullptr) throw nb::key_error(nb::str(name).c_str());
  return found;
}

}  // namespace

bool use_dlpack_table(nb::handle capsule) {
  const void* found = PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
  if (found == nullptr) nb::raise_python_error();
  const auto* table = static_cast<const dlpack::Table*>(found);
  while (table != nullptr && table->major != dlpack::kMajor) table = table->previous;
  from_object = table == nullptr ? nullptr : table->from_object;
  return from_object != nullptr;
}

nb::bytes layouts(nb::list tensors) { return describe_all(tensors, Say::layout); }

nb::bytes states(nb::list tensors) { return describe_all(tensors, Say::state); }

nb::list look_up(nb::handle module, nb::tuple paths) {
  nb::list found;
  for (nb::handle path : paths) {
    const auto names = nb::borrow<nb::tuple>(path);
    if (names.size() == 0) {
      found.append(nb::none());
      continue;
    }
    nb::handle owner = module;
    for (std::size_t i = 0; i + 1 < names.size(); ++i) owner = submodule(owner, names[i]);
    found.append(entry_of_module(owner, names[names.size() - 1]));
  }
  return found;
}

}  // namespace convsmith

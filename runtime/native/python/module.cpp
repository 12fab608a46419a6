// The Python module: numpy arrays in and out, the GIL released while kernels run.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lanner_native.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Ids = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Tensor = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

// Owned by the module for as long as the process runs.
PyObject* native_error = nullptr;

void require(ln_status status, const char* text) {
  if (status == LN_OK) return;
  const nb::object arguments = nb::make_tuple(static_cast<int>(status), text);
  PyErr_SetObject(native_error, arguments.ptr());
  throw nb::python_error();
}

uint32_t number(const nb::dict& config, const char* name) {
  return nb::cast<uint32_t>(config[name]);
}

uint32_t dtype_of(const Tensor& tensor) {
  if (tensor.dtype() == nb::dtype<float>()) return LN_F32;
  if (tensor.dtype() == nb::dtype<int8_t>()) return LN_S8;
  throw nb::type_error("a tensor is neither float32 nor int8");
}

class Model {
 public:
  Model(const nb::dict& config, const nb::dict& tensors, bool per_token, bool bf16,
        const std::string& instruction_set) {
    ln_config c{};
    c.version = LN_VERSION;
    c.layers = number(config, "layers");
    c.layer_groups = number(config, "layer_groups");
    c.hidden_size = number(config, "hidden_size");
    c.embedding_size = number(config, "embedding_size");
    c.intermediate_size = number(config, "intermediate_size");
    c.heads = number(config, "heads");
    c.head_size = number(config, "head_size");
    c.key_value_heads = number(config, "key_value_heads");
    c.attention_scale = nb::cast<float>(config["attention_scale"]);
    c.norm_epsilon = nb::cast<float>(config["norm_epsilon"]);
    c.norm = number(config, "norm");
    c.norm_place = number(config, "norm_place");
    c.activation = number(config, "activation");
    c.gated = number(config, "gated");
    c.positions = number(config, "positions");
    c.position_offset = number(config, "position_offset");
    c.padding_id = nb::cast<int32_t>(config["padding_id"]);
    c.relative_buckets = number(config, "relative_buckets");
    c.relative_max_distance = number(config, "relative_max_distance");
    c.rotary_tables = number(config, "rotary_tables");
    c.rotary_pairs = number(config, "rotary_pairs");
    c.rotary_neighbours = number(config, "rotary_neighbours");
    c.max_tokens = number(config, "max_tokens");
    c.scales = per_token ? LN_SCALES_PER_TOKEN : LN_SCALES_STATIC;
    c.bf16 = bf16;
    c.pooling = number(config, "pooling");
    const auto dense = nb::cast<std::vector<uint32_t>>(config["dense_activation"]);
    if (dense.size() > LN_MAX_DENSE) throw nb::value_error("too many Dense layers");
    c.dense_layers = static_cast<uint32_t>(dense.size());
    for (size_t i = 0; i < dense.size(); ++i) c.dense_activation[i] = dense[i];
    c.dense_before_pooling = number(config, "dense_before_pooling");
    c.normalize = number(config, "normalize");
    c.instruction_set = instruction_set.empty() ? nullptr : instruction_set.c_str();

    std::vector<std::string> names;
    std::vector<Tensor> arrays;
    for (auto [name, array] : tensors) {
      names.push_back(nb::cast<std::string>(name));
      arrays.push_back(nb::cast<Tensor>(array));
      if (names.back() == "embeddings.word.weight") words_ = arrays.back();
    }
    std::vector<ln_tensor> described;
    for (size_t i = 0; i < arrays.size(); ++i) {
      ln_tensor tensor{};
      tensor.name = names[i].c_str();
      tensor.dtype = dtype_of(arrays[i]);
      tensor.rank = static_cast<uint32_t>(arrays[i].ndim());
      if (tensor.rank < 1 || tensor.rank > 2) throw nb::type_error("a tensor has no or three axes");
      for (size_t axis = 0; axis < tensor.rank; ++axis) tensor.shape[axis] = arrays[i].shape(axis);
      tensor.data = arrays[i].data();
      described.push_back(tensor);
    }
    char error[512] = "";
    ln_model* model = nullptr;
    ln_status status;
    {
      const nb::gil_scoped_release release;
      status = ln_load(&c, described.data(), described.size(), &model, error, sizeof error);
    }
    require(status, error);
    model_.reset(model);
  }

  void run(const Ids& ids, const std::optional<Ids>& type_ids, const Ids& starts, Output output,
           uint32_t threads) {
    if (starts.shape(0) < 1) throw nb::value_error("starts has no element");
    if (type_ids && type_ids->shape(0) != ids.shape(0))
      throw nb::value_error("type_ids has another length than ids");
    if (output.shape(1) != ln_output_size(model_.get()))
      throw nb::value_error("output has another width than the model");
    ln_batch batch{};
    batch.ids = ids.data();
    batch.type_ids = type_ids ? type_ids->data() : nullptr;
    batch.starts = starts.data();
    batch.tokens = ids.shape(0);
    batch.sequences = starts.shape(0) - 1;
    char error[512] = "";
    ln_status status;
    {
      const nb::gil_scoped_release release;
      status = ln_run(model_.get(), &batch, threads, output.data(),
                      output.shape(0) * output.shape(1), error, sizeof error);
    }
    require(status, error);
  }

  uint32_t output_size() const { return ln_output_size(model_.get()); }
  std::string instruction_set() const { return ln_model_instruction_set(model_.get()); }

 private:
  struct Free {
    void operator()(ln_model* model) const { ln_free(model); }
  };
  // The table is read in place: it must outlive the model.
  Tensor words_;
  std::unique_ptr<ln_model, Free> model_;
};

nb::list instruction_sets() {
  nb::list found;
  for (size_t i = 0; i < ln_instruction_set_count(); ++i) {
    ln_instruction_set set{};
    require(ln_instruction_set_get(i, &set), "there is no such instruction set");
    found.append(nb::make_tuple(set.name, set.compiled != 0, set.supported != 0, set.passed != 0,
                                set.bf16_supported != 0, set.bf16_passed != 0));
  }
  return found;
}

}  // namespace

NB_MODULE(_core, module) {
  // A thread that the process does not wait for may hold a model to the end: that is no leak.
  nb::set_leak_warnings(false);
  native_error = PyErr_NewException("lanner_native.NativeError", PyExc_RuntimeError, nullptr);
  module.attr("NativeError") = nb::borrow(native_error);
  module.attr("INTERFACE") = LN_VERSION;
  module.def("instruction_sets", &instruction_sets);
  nb::class_<Model>(module, "Model")
      .def(nb::init<nb::dict, nb::dict, bool, bool, std::string>(), "config"_a, "tensors"_a, nb::kw_only(),
           "per_token"_a = false, "bf16"_a = false, "instruction_set"_a = "")
      .def("run", &Model::run, "ids"_a, "type_ids"_a.none(), "starts"_a, "output"_a, "threads"_a)
      .def_prop_ro("output_size", &Model::output_size)
      .def_prop_ro("instruction_set", &Model::instruction_set);
}

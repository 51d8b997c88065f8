#include "normalise.h"

#include "guard.h"
#include "rows.h"

#include <ATen/ATen.h>
#include <ATen/TensorIterator.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Values in one piece of work. Pieces are the same whatever the number of threads, and so are results.
constexpr int64_t VALUES_OF_A_PIECE = 1 << 16;

// Groups of rows of features, and how they are cut into pieces.
struct Extent {
  int64_t groups;
  int64_t rows;
  int64_t features;

  Extent(const Tensor& maps, int64_t of_groups)
      : groups(of_groups), rows(maps.numel() / maps.size(1) / of_groups), features(maps.size(1)) {}

  int64_t rows_of_a_piece() const { return std::max<int64_t>(1, VALUES_OF_A_PIECE / features); }
  int64_t pieces_of_a_group() const { return (rows + rows_of_a_piece() - 1) / rows_of_a_piece(); }

  // Calls `work(group, piece of all, first row of all, rows)` for every piece, on all threads.
  template <typename Work>
  void each_piece(const Work& work) const {
    const int64_t pieces = pieces_of_a_group();
    const auto one = [&](int64_t piece) {
      const int64_t group = piece / pieces;
      const int64_t first = piece % pieces * rows_of_a_piece();
      work(group, piece, group * rows + first, std::min(rows_of_a_piece(), rows - first));
    };
    // A walk over the pieces' numbers runs on LibTorch's own threads; ATen/Parallel.h would need another OpenMP linked beside its own.
    const auto numbers = at::arange(groups * pieces, at::kLong);
    auto walk = at::TensorIterator::borrowing_nullary_op(numbers);
    walk.for_each(
        [&](char** data, const int64_t* strides, int64_t count) {
          for (int64_t i = 0; i < count; ++i) {
            one(*reinterpret_cast<const int64_t*>(data[0] + i * strides[0]));
          }
        },
        /*grain_size=*/1);
  }
};

bool is_channels_last(const Tensor& maps) { return maps.dim() == 5 && maps.permute({0, 2, 3, 4, 1}).is_contiguous(); }

Tensor in_channels_last(const Tensor& maps) {
  return is_channels_last(maps) ? maps : maps.permute({0, 2, 3, 4, 1}).contiguous().permute({0, 4, 1, 2, 3});
}

// Strides and all like the maps: those of axes of one value tell convolutions the order, too.
Tensor empty_maps(const Tensor& like) {
  return at::empty_strided(like.sizes(), like.strides(), like.options().requires_grad(false));
}

// The values of a tensor, or none.
template <typename T>
T* values(const Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.data_ptr()) : nullptr;
}

template <typename T>
T* at_row(T* values, int64_t row, int64_t features) {
  return values == nullptr ? nullptr : values + row * features;
}

// Calls `body` with a value of the type in which a tensor's values lie in memory.
template <typename Body>
void with_format(const Tensor& tensor, const Body& body) {
  tensor.scalar_type() == at::kFloat ? body(float{}) : body(rows::Bf16{});
}

// Mean and biased variance, `[groups, features]`.
std::pair<Tensor, Tensor> moments(const Tensor& input, const Extent& extent) {
  const int64_t features = extent.features;
  const int64_t pieces = extent.pieces_of_a_group();
  std::vector<double> means(extent.groups * pieces * features);
  std::vector<double> squares(means.size());
  with_format(input, [&](auto format) {
    const auto* x = values<decltype(format)>(input);
    extent.each_piece([&](int64_t, int64_t piece, int64_t row, int64_t count) {
      rows::moments(at_row(x, row, features), count, features, means.data() + piece * features, squares.data() + piece * features);
    });
  });
  auto mean = at::empty({extent.groups, features}, at::kFloat);
  auto variance = at::empty({extent.groups, features}, at::kFloat);
  for (int64_t group = 0; group < extent.groups; ++group) {
    double* const of_group = means.data() + group * pieces * features;
    double* const squares_of_group = squares.data() + group * pieces * features;
    for (int64_t piece = 1; piece < pieces; ++piece) {
      const double before = static_cast<double>(piece * extent.rows_of_a_piece());
      const double own = static_cast<double>(std::min(extent.rows_of_a_piece(), extent.rows - piece * extent.rows_of_a_piece()));
      const double part = own / (before + own);
      for (int64_t i = 0; i < features; ++i) {
        const double apart = of_group[piece * features + i] - of_group[i];
        of_group[i] += apart * part;
        squares_of_group[i] += squares_of_group[piece * features + i] + apart * apart * before * part;
      }
    }
    for (int64_t i = 0; i < features; ++i) {
      values<float>(mean)[group * features + i] = static_cast<float>(of_group[i]);
      values<float>(variance)[group * features + i] = static_cast<float>(squares_of_group[i] / static_cast<double>(extent.rows));
    }
  }
  return {mean, variance};
}

// Adds up what the pieces of each group have: `[groups, features]`.
Tensor over_pieces(const std::vector<double>& of_pieces, const Extent& extent) {
  const auto options = at::TensorOptions(at::kDouble);
  const std::vector<int64_t> sizes{extent.groups, extent.pieces_of_a_group(), extent.features};
  // from_blob takes no const, and the sum reads only
  return at::from_blob(const_cast<double*>(of_pieces.data()), sizes, options).sum(1);
}

class Normalisation : public torch::autograd::Function<Normalisation> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& input, const std::optional<Tensor>& scales,
                               const std::optional<Tensor>& shifts, const std::optional<Tensor>& addends, int64_t groups, double epsilon,
                               double slope) {
    const auto weight = scales.value_or(Tensor()), bias = shifts.value_or(Tensor()), plus = addends.value_or(Tensor());
    const Extent extent(input, groups);
    const int64_t features = extent.features;
    const auto of_groups = moments(input, extent);
    const Tensor& mean = of_groups.first;
    const Tensor& variance = of_groups.second;
    const auto inverse = (variance + epsilon).rsqrt();
    const auto scale = weight.defined() ? inverse * weight.to(at::kFloat) : inverse;
    const auto shift = bias.defined() ? bias.to(at::kFloat).contiguous() : at::zeros({features}, at::kFloat);
    const auto other = plus.defined() ? in_channels_last(plus) : plus;
    const rows::Rectifier rectifier{static_cast<float>(slope)};
    auto output = empty_maps(input);
    with_format(input, [&](auto format) {
      using T = decltype(format);
      const auto* x = values<T>(input);
      const auto* added = values<T>(other);
      auto* y = values<T>(output);
      extent.each_piece([&](int64_t group, int64_t, int64_t row, int64_t count) {
        const rows::Scaling by{values<float>(mean) + group * features, values<float>(scale) + group * features, values<float>(shift)};
        rows::forward(at_row(x, row, features), at_row(added, row, features), at_row(y, row, features), count, features, by, rectifier);
      });
    });
    // Where something is rectified the sign of the output tells which values; whoever takes it as input keeps it anyway.
    context->save_for_backward({input, weight, mean, inverse, rectifier.is_linear() ? Tensor() : output});
    context->saved_data["groups"] = groups;
    context->saved_data["slope"] = slope;
    context->saved_data["adds"] = plus.defined();
    context->saved_data["shifts"] = bias.defined();
    context->mark_non_differentiable({mean, variance});
    return {output, mean, variance};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "this normalisation has no gradient of its gradient");
    const auto saved = context->get_saved_variables();
    const auto &input = saved[0], &weight = saved[1], &mean = saved[2], &inverse = saved[3], &output = saved[4];
    const Extent extent(input, context->saved_data["groups"].toInt());
    const int64_t features = extent.features;
    const rows::Rectifier rectifier{static_cast<float>(context->saved_data["slope"].toDouble())};
    const auto given = in_channels_last(gradients[0].to(input.scalar_type()));
    const bool adds = context->saved_data["adds"].toBool();
    auto of_plus = adds ? empty_maps(input) : Tensor();
    auto of_input = empty_maps(input);
    std::vector<double> sums(extent.groups * extent.pieces_of_a_group() * features);
    std::vector<double> products(sums.size());
    Tensor sum, product;
    with_format(input, [&](auto format) {
      using T = decltype(format);
      const auto* x = values<T>(input);
      const auto* y = values<T>(output);
      const auto* upstream = values<T>(given);
      auto* kept = values<T>(of_plus);
      extent.each_piece([&](int64_t group, int64_t piece, int64_t row, int64_t count) {
        rows::sums(at_row(upstream, row, features), at_row(y, row, features), at_row(x, row, features), at_row(kept, row, features), count,
                   features, values<float>(mean) + group * features, rectifier, sums.data() + piece * features,
                   products.data() + piece * features);
      });
      sum = over_pieces(sums, extent);
      product = over_pieces(products, extent);
      const auto exact = inverse.to(at::kDouble);
      const auto scale = weight.defined() ? exact * weight.to(at::kDouble) : exact;
      const auto count = static_cast<double>(extent.rows);
      const auto middles = (sum / count).to(at::kFloat);
      const auto scales = scale.to(at::kFloat);
      const auto tilts = (scale * exact * exact * product / count).to(at::kFloat);
      // what was kept needs no rectifier any more
      const rows::Rectifier rest = adds ? rows::Rectifier{1.0F} : rectifier;
      const auto* before = adds ? kept : upstream;
      auto* out = values<T>(of_input);
      extent.each_piece([&](int64_t group, int64_t, int64_t row, int64_t size) {
        const int64_t at = group * features;
        const rows::Slopes by{values<float>(mean) + at, values<float>(middles) + at, values<float>(scales) + at, values<float>(tilts) + at};
        rows::backward(at_row(before, row, features), at_row(y, row, features), at_row(x, row, features), at_row(out, row, features), size,
                       features, by, rest);
      });
    });
    const auto of_weight = weight.defined() ? (product * inverse.to(at::kDouble)).sum(0).to(weight.scalar_type()) : Tensor();
    const auto of_bias = context->saved_data["shifts"].toBool() ? sum.sum(0).to(weight.scalar_type()) : Tensor();
    return {of_input, of_weight, of_bias, of_plus, Tensor(), Tensor(), Tensor()};
  }
};

void check(const Tensor& input, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, const std::optional<Tensor>& plus,
           int64_t groups, double slope) {
  TORCH_CHECK(input.device().is_cpu() && (input.scalar_type() == at::kFloat || input.scalar_type() == at::kBFloat16) && is_channels_last(input),
              "expected float32 or bfloat16 maps in channels-last order on a CPU");
  TORCH_CHECK(input.numel() > 0 && groups > 0 && input.size(0) % groups == 0, "a batch of ", input.size(0), " does not make ", groups, " groups");
  TORCH_CHECK(weight.has_value() == bias.has_value(), "scale and shift come together");
  TORCH_CHECK(!weight || (weight->sizes() == at::IntArrayRef{input.size(1)} && bias->sizes() == weight->sizes()), "expected ", input.size(1),
              " scales and shifts");
  TORCH_CHECK(!plus || (plus->sizes() == input.sizes() && plus->scalar_type() == input.scalar_type() && plus->device().is_cpu()),
              "what is added is not like the maps of sizes ", input.sizes());
  // a negative one would change signs, by which the backward pass goes
  TORCH_CHECK(slope >= 0 && slope <= 1, "slope ", slope, " is not between 0 and 1");
}

std::optional<Tensor> or_none(const Tensor* tensor) { return tensor == nullptr ? std::nullopt : std::optional(*tensor); }

}  // namespace

extern "C" {

char* normalise(const Tensor* input, const Tensor* weight, const Tensor* bias, const Tensor* plus, int64_t groups, double epsilon,
                double slope, Tensor** output, Tensor** mean, Tensor** variance) {
  return shim::guarded([&] {
    const auto scale = or_none(weight), shift = or_none(bias), added = or_none(plus);
    check(*input, scale, shift, added, groups, slope);
    auto answer = Normalisation::apply(*input, scale, shift, added, groups, epsilon, slope);
    *output = new Tensor(std::move(answer[0]));
    *mean = new Tensor(std::move(answer[1]));
    *variance = new Tensor(std::move(answer[2]));
  });
}
}

// Passes of a normalisation over rows of features that lie side by side in memory, on a CPU, on the calling thread.
//
// Formats are float32 and bfloat16; everything is computed in float32. What is added up goes from float32 to float64 after few rows.
#pragma once
#include <cstdint>

namespace rows {

// bfloat16: the upper half of a float32.
struct Bf16 {
  uint16_t bits;
};

// What a rectifier leaves of negative values: 0 nothing, 1 all (no rectifier).
struct Rectifier {
  float slope;
  bool is_linear() const { return slope == 1.0F; }
};

// Numbers by which rows are normalised, of each feature: (x - mean) * scale + shift.
struct Scaling {
  const float* mean;
  const float* scale;
  const float* shift;
};

// Numbers of each feature of a gradient, where `rectified` is the one before the rectifier: (rectified - middle) * scale - (x - mean) * tilt.
// Of a single value, which is its own middle and mean, it is exactly 0.
struct Slopes {
  const float* mean;
  const float* middle;
  const float* scale;
  const float* tilt;
};

// Mean and sum of squared deviations of each feature over `count` rows.
void moments(const float* x, int64_t count, int64_t features, double* mean, double* squares);
void moments(const Bf16* x, int64_t count, int64_t features, double* mean, double* squares);

// y: x normalised, `plus` (if there is one) added, rectified.
void forward(const float* x, const float* plus, float* y, int64_t count, int64_t features, Scaling by, Rectifier rectifier);
void forward(const Bf16* x, const Bf16* plus, Bf16* y, int64_t count, int64_t features, Scaling by, Rectifier rectifier);

// Of the gradient before the rectifier, of each feature: its sum, and that of its products with x - mean. The gradient is kept in `kept` if
// there is one; added up is what is kept. Without a rectifier y is not read.
void sums(const float* given, const float* y, const float* x, float* kept, int64_t count, int64_t features, const float* mean,
          Rectifier rectifier, double* sum, double* product);
void sums(const Bf16* given, const Bf16* y, const Bf16* x, Bf16* kept, int64_t count, int64_t features, const float* mean,
          Rectifier rectifier, double* sum, double* product);

// The gradient of x.
void backward(const float* given, const float* y, const float* x, float* out, int64_t count, int64_t features, Slopes by, Rectifier rectifier);
void backward(const Bf16* given, const Bf16* y, const Bf16* x, Bf16* out, int64_t count, int64_t features, Slopes by, Rectifier rectifier);

}  // namespace rows

// Normalisation of maps whose features lie side by side in memory, with what follows it, in one operation of autograd.
#pragma once
#include <cstdint>

namespace at {
class Tensor;
}

extern "C" {

// `input`: `[batch, features, z, y, x]` in channels-last order, float32 or bfloat16, on a CPU. The batch is cut into `groups`, each of which is
// brought to mean 0 and variance 1 in each feature, then multiplied by `weight`, shifted by `bias` (both or none), `plus` (or none; of the
// same sizes and format) is added, and what is negative multiplied by `slope`.
//
// `output` is like the input; `mean` and `variance` (biased), `[groups, features]` in float32, are outside of autograd. The caller owns all three.
char* normalise(const at::Tensor* input, const at::Tensor* weight, const at::Tensor* bias, const at::Tensor* plus, int64_t groups,
                double epsilon, double slope, at::Tensor** output, at::Tensor** mean, at::Tensor** variance);
}

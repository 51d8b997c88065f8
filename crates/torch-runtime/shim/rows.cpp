#include "rows.h"

#include <algorithm>
#include <cstring>
#include <vector>

// One compilation for each kind of processor, chosen when the program is loaded.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define FOR_EVERY_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_PROCESSOR
#endif
// Into each of them.
#define INTO_EACH __attribute__((always_inline)) inline

namespace rows {
namespace {

// So many rows are added up in float32.
INTO_EACH int64_t rows_of_a_block(int64_t features) { return std::clamp<int64_t>(32768 / features, 16, 128); }

INTO_EACH float load(float value) { return value; }

INTO_EACH float load(Bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16U;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

INTO_EACH void store(float& place, float value) { place = value; }

// To the nearest, of two to the even one.
INTO_EACH void store(Bf16& place, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U;
  place.bits = static_cast<uint16_t>(value == value ? rounded : 0x7FC0U);
}

template <typename T>
INTO_EACH void moments_of(const T* x, int64_t count, int64_t features, double* mean, double* squares) {
  std::vector<float> space(3 * features);
  float* __restrict middle = space.data();
  float* __restrict first = middle + features;
  float* __restrict second = first + features;
  std::fill_n(mean, features, 0.0);
  std::fill_n(squares, features, 0.0);
  const int64_t block = rows_of_a_block(features);
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t size = std::min(block, count - begin);
    const T* values = x + begin * features;
    std::fill_n(middle, 3 * features, 0.0F);
    for (int64_t row = 0; row < size; ++row) {
      const T* __restrict from = values + row * features;
      for (int64_t i = 0; i < features; ++i) {
        middle[i] += load(from[i]);
      }
    }
    const float share = 1.0F / static_cast<float>(size);
    for (int64_t i = 0; i < features; ++i) {
      middle[i] *= share;
    }
    // Squares around a middle that is near the mean lose nothing; the block is still in the cache.
    for (int64_t row = 0; row < size; ++row) {
      const T* __restrict from = values + row * features;
      for (int64_t i = 0; i < features; ++i) {
        const float apart = load(from[i]) - middle[i];
        first[i] += apart;
        second[i] += apart * apart;
      }
    }
    // Chan, Golub and LeVeque 1979: moments of two parts together.
    const double before = static_cast<double>(begin);
    const double of_block = static_cast<double>(size);
    const double part = of_block / (before + of_block);
    for (int64_t i = 0; i < features; ++i) {
      const double correction = static_cast<double>(first[i]) / of_block;
      const double apart = static_cast<double>(middle[i]) + correction - mean[i];
      mean[i] += apart * part;
      squares[i] += static_cast<double>(second[i]) - correction * correction * of_block + apart * apart * before * part;
    }
  }
}

template <typename T, bool adds, bool is_linear>
INTO_EACH void forward_of(const T* x, const T* plus, T* y, int64_t count, int64_t features, Scaling by, float slope) {
  const float* __restrict mean = by.mean;
  const float* __restrict scale = by.scale;
  const float* __restrict shift = by.shift;
  for (int64_t row = 0; row < count; ++row) {
    const T* __restrict from = x + row * features;
    const T* __restrict other = adds ? plus + row * features : nullptr;
    T* __restrict to = y + row * features;
    for (int64_t i = 0; i < features; ++i) {
      float value = (load(from[i]) - mean[i]) * scale[i] + shift[i];
      if constexpr (adds) {
        value += load(other[i]);
      }
      if constexpr (!is_linear) {
        // what is not a number stays so
        value *= value < 0.0F ? slope : 1.0F;
      }
      store(to[i], value);
    }
  }
}

template <typename T>
INTO_EACH void forward_any(const T* x, const T* plus, T* y, int64_t count, int64_t features, Scaling by, Rectifier rectifier) {
  const float slope = rectifier.slope;
  if (plus != nullptr) {
    rectifier.is_linear() ? forward_of<T, true, true>(x, plus, y, count, features, by, slope)
                          : forward_of<T, true, false>(x, plus, y, count, features, by, slope);
  } else {
    rectifier.is_linear() ? forward_of<T, false, true>(x, plus, y, count, features, by, slope)
                          : forward_of<T, false, false>(x, plus, y, count, features, by, slope);
  }
}

// The gradient before the rectifier.
template <typename T, bool is_linear>
INTO_EACH float before_rectifier(const T* given, const T* y, int64_t i, float slope) {
  const float value = load(given[i]);
  if constexpr (is_linear) {
    return value;
  } else {
    return value * (load(y[i]) > 0.0F ? 1.0F : slope);
  }
}

template <typename T, bool keeps, bool is_linear>
INTO_EACH void sums_of(const T* given, const T* y, const T* x, T* kept, int64_t count, int64_t features, const float* mean, float slope,
                       double* sum, double* product) {
  std::vector<float> space(2 * features);
  float* __restrict first = space.data();
  float* __restrict second = first + features;
  std::fill_n(sum, features, 0.0);
  std::fill_n(product, features, 0.0);
  const int64_t block = rows_of_a_block(features);
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t end = std::min(count, begin + block);
    std::fill_n(first, 2 * features, 0.0F);
    for (int64_t row = begin; row < end; ++row) {
      const T* __restrict from = x + row * features;
      const T* __restrict upstream = given + row * features;
      const T* __restrict answer = is_linear ? nullptr : y + row * features;
      T* __restrict to = keeps ? kept + row * features : nullptr;
      for (int64_t i = 0; i < features; ++i) {
        const float gradient = before_rectifier<T, is_linear>(upstream, answer, i, slope);
        first[i] += gradient;
        second[i] += gradient * (load(from[i]) - mean[i]);
        if constexpr (keeps) {
          store(to[i], gradient);
        }
      }
    }
    for (int64_t i = 0; i < features; ++i) {
      sum[i] += static_cast<double>(first[i]);
      product[i] += static_cast<double>(second[i]);
    }
  }
}

template <typename T>
INTO_EACH void sums_any(const T* given, const T* y, const T* x, T* kept, int64_t count, int64_t features, const float* mean,
                        Rectifier rectifier, double* sum, double* product) {
  const float slope = rectifier.slope;
  if (kept != nullptr) {
    rectifier.is_linear() ? sums_of<T, true, true>(given, y, x, kept, count, features, mean, slope, sum, product)
                          : sums_of<T, true, false>(given, y, x, kept, count, features, mean, slope, sum, product);
  } else {
    rectifier.is_linear() ? sums_of<T, false, true>(given, y, x, kept, count, features, mean, slope, sum, product)
                          : sums_of<T, false, false>(given, y, x, kept, count, features, mean, slope, sum, product);
  }
}

template <typename T, bool is_linear>
INTO_EACH void backward_of(const T* given, const T* y, const T* x, T* out, int64_t count, int64_t features, Slopes by, float slope) {
  const float* __restrict mean = by.mean;
  const float* __restrict scale = by.scale;
  const float* __restrict shift = by.shift;
  const float* __restrict tilt = by.tilt;
  for (int64_t row = 0; row < count; ++row) {
    const T* __restrict from = x + row * features;
    const T* __restrict upstream = given + row * features;
    const T* __restrict answer = is_linear ? nullptr : y + row * features;
    T* __restrict to = out + row * features;
    for (int64_t i = 0; i < features; ++i) {
      const float gradient = before_rectifier<T, is_linear>(upstream, answer, i, slope);
      store(to[i], gradient * scale[i] - shift[i] - (load(from[i]) - mean[i]) * tilt[i]);
    }
  }
}

template <typename T>
INTO_EACH void backward_any(const T* given, const T* y, const T* x, T* out, int64_t count, int64_t features, Slopes by, Rectifier rectifier) {
  rectifier.is_linear() ? backward_of<T, true>(given, y, x, out, count, features, by, rectifier.slope)
                        : backward_of<T, false>(given, y, x, out, count, features, by, rectifier.slope);
}

}  // namespace

FOR_EVERY_PROCESSOR
void moments(const float* x, int64_t count, int64_t features, double* mean, double* squares) {
  moments_of(x, count, features, mean, squares);
}

FOR_EVERY_PROCESSOR
void moments(const Bf16* x, int64_t count, int64_t features, double* mean, double* squares) {
  moments_of(x, count, features, mean, squares);
}

FOR_EVERY_PROCESSOR
void forward(const float* x, const float* plus, float* y, int64_t count, int64_t features, Scaling by, Rectifier rectifier) {
  forward_any(x, plus, y, count, features, by, rectifier);
}

FOR_EVERY_PROCESSOR
void forward(const Bf16* x, const Bf16* plus, Bf16* y, int64_t count, int64_t features, Scaling by, Rectifier rectifier) {
  forward_any(x, plus, y, count, features, by, rectifier);
}

FOR_EVERY_PROCESSOR
void sums(const float* given, const float* y, const float* x, float* kept, int64_t count, int64_t features, const float* mean,
          Rectifier rectifier, double* sum, double* product) {
  sums_any(given, y, x, kept, count, features, mean, rectifier, sum, product);
}

FOR_EVERY_PROCESSOR
void sums(const Bf16* given, const Bf16* y, const Bf16* x, Bf16* kept, int64_t count, int64_t features, const float* mean,
          Rectifier rectifier, double* sum, double* product) {
  sums_any(given, y, x, kept, count, features, mean, rectifier, sum, product);
}

FOR_EVERY_PROCESSOR
void backward(const float* given, const float* y, const float* x, float* out, int64_t count, int64_t features, Slopes by, Rectifier rectifier) {
  backward_any(given, y, x, out, count, features, by, rectifier);
}

FOR_EVERY_PROCESSOR
void backward(const Bf16* given, const Bf16* y, const Bf16* x, Bf16* out, int64_t count, int64_t features, Slopes by, Rectifier rectifier) {
  backward_any(given, y, x, out, count, features, by, rectifier);
}

}  // namespace rows

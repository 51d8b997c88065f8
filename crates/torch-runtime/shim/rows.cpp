#include "rows.h"

#include <algorithm>
#include <cstring>
#include <vector>

// One compilation for each kind of processor, chosen when the program is loaded, by compilers that know these names of kinds.
#if defined(__clang__)
#define KNOWS_KINDS (__clang_major__ >= 18)
#elif defined(__GNUC__)
#define KNOWS_KINDS (__GNUC__ >= 12)
#else
#define KNOWS_KINDS 0
#endif
#if defined(__x86_64__) && defined(__linux__) && KNOWS_KINDS
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

// What follows; each has loops of its own.
enum class After { nothing, relu, leaky_relu };

// What is not a number stays so.
template <After after>
INTO_EACH float rectified(float value, float slope) {
  if constexpr (after == After::relu) {
    return value < 0.0F ? 0.0F : value;
  } else if constexpr (after == After::leaky_relu) {
    return value * (value < 0.0F ? slope : 1.0F);
  } else {
    return value;
  }
}

// The gradient before a rectifier that gave y.
template <After after>
INTO_EACH float before_rectifier(float given, float y, float slope) {
  if constexpr (after == After::relu) {
    return y > 0.0F ? given : 0.0F;
  } else if constexpr (after == After::leaky_relu) {
    return given * (y > 0.0F ? 1.0F : slope);
  } else {
    return given;
  }
}

template <After after>
struct Constant {
  static constexpr After value = after;
};

// Calls `body` with what follows as a constant.
template <typename Body>
INTO_EACH void with_after(Rectifier rectifier, const Body& body) {
  if (rectifier.is_linear()) {
    body(Constant<After::nothing>{});
  } else if (rectifier.slope == 0.0F) {
    body(Constant<After::relu>{});
  } else {
    body(Constant<After::leaky_relu>{});
  }
}

template <typename T, bool adds, After after>
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
      store(to[i], rectified<after>(value, slope));
    }
  }
}

template <typename T>
INTO_EACH void forward_any(const T* x, const T* plus, T* y, int64_t count, int64_t features, Scaling by, Rectifier rectifier) {
  const float slope = rectifier.slope;
  with_after(rectifier, [&](auto after) __attribute__((always_inline)) {
    constexpr After follows = decltype(after)::value;
    plus != nullptr ? forward_of<T, true, follows>(x, plus, y, count, features, by, slope)
                    : forward_of<T, false, follows>(x, plus, y, count, features, by, slope);
  });
}

template <typename T, bool keeps, After after>
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
      const T* __restrict answer = after == After::nothing ? upstream : y + row * features;
      T* __restrict to = keeps ? kept + row * features : nullptr;
      for (int64_t i = 0; i < features; ++i) {
        float gradient = before_rectifier<after>(load(upstream[i]), load(answer[i]), slope);
        if constexpr (keeps) {
          T rounded;
          store(rounded, gradient);
          to[i] = rounded;
          gradient = load(rounded);
        }
        first[i] += gradient;
        second[i] += gradient * (load(from[i]) - mean[i]);
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
  with_after(rectifier, [&](auto after) __attribute__((always_inline)) {
    constexpr After follows = decltype(after)::value;
    kept != nullptr ? sums_of<T, true, follows>(given, y, x, kept, count, features, mean, slope, sum, product)
                    : sums_of<T, false, follows>(given, y, x, kept, count, features, mean, slope, sum, product);
  });
}

template <typename T, After after>
INTO_EACH void backward_of(const T* given, const T* y, const T* x, T* out, int64_t count, int64_t features, Slopes by, float slope) {
  const float* __restrict mean = by.mean;
  const float* __restrict middle = by.middle;
  const float* __restrict scale = by.scale;
  const float* __restrict tilt = by.tilt;
  for (int64_t row = 0; row < count; ++row) {
    const T* __restrict from = x + row * features;
    const T* __restrict upstream = given + row * features;
    const T* __restrict answer = after == After::nothing ? upstream : y + row * features;
    T* __restrict to = out + row * features;
    for (int64_t i = 0; i < features; ++i) {
      const float gradient = before_rectifier<after>(load(upstream[i]), load(answer[i]), slope);
      store(to[i], (gradient - middle[i]) * scale[i] - (load(from[i]) - mean[i]) * tilt[i]);
    }
  }
}

template <typename T>
INTO_EACH void backward_any(const T* given, const T* y, const T* x, T* out, int64_t count, int64_t features, Slopes by, Rectifier rectifier) {
  with_after(rectifier, [&](auto after) __attribute__((always_inline)) {
    backward_of<T, decltype(after)::value>(given, y, x, out, count, features, by, rectifier.slope);
  });
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

// The little that the C++ tests need: buffers with guards on both sides, a check macro, random operands, a reference.
#ifndef GOSSAMER_TESTING_H
#define GOSSAMER_TESTING_H

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "kernels.h"

extern int failures;

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                         \
    }                                                                     \
  } while (0)

// Exactly n elements, `shift` elements away from a 64-byte boundary, between guard bytes that must stay as they are.
// Heap memory: the address sanitizer sees reads past the guards as well.
template <class T> class Guarded {
 public:
  explicit Guarded(size_t n, size_t shift = 1) : n_(n), bytes_(kGuard + shift * sizeof(T) + n * sizeof(T) + kGuard, kByte) {
    start_ = kGuard + shift * sizeof(T);
  }
  T* data() { return reinterpret_cast<T*>(bytes_.data() + start_); }
  const T* data() const { return reinterpret_cast<const T*>(bytes_.data() + start_); }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
  size_t size() const { return n_; }
  bool intact() const {
    for (size_t i = 0; i < start_; ++i)
      if (bytes_[i] != kByte) return false;
    for (size_t i = start_ + n_ * sizeof(T); i < bytes_.size(); ++i)
      if (bytes_[i] != kByte) return false;
    return true;
  }

 private:
  static constexpr size_t kGuard = 64;
  static constexpr unsigned char kByte = 0xa5;
  size_t n_, start_;
  std::vector<unsigned char> bytes_;
};

// A layer with its index in plain form: one (row, column) a value, in storage order; row >= n_out is padding.
struct Layer {
  gs_matrix w;  // values, rows and cols point into the buffers below
  std::vector<int64_t> row, column;
  std::vector<unsigned char> rows, cols;
};

// layout as in gs_layout; group, n, m where the layout has them (block: h, w); wide: 4-byte columns (8-byte row pointers).
Layer make_layer(std::mt19937& random, int layout, int n_out, int n_in, int group, int n, int m, bool wide);

// y[n_out][batch] in double, without activation; x[n_in][batch].
std::vector<double> reference_linear(const Layer& layer, const std::vector<double>& values, const std::vector<double>& x,
                                     const std::vector<double>& bias, int batch);
std::vector<double> reference_grad_input(const Layer& layer, const std::vector<double>& values,
                                         const std::vector<double>& grad, int batch);
std::vector<double> reference_grad_values(const Layer& layer, const std::vector<double>& grad,
                                          const std::vector<double>& x, int batch);

// A parallel_for that hands out the smallest pieces, every second one first: what depends on split or order shows.
int32_t scattered_for(int64_t begin, int64_t end, int64_t grain, void (*task)(int64_t, int64_t, void*), void* ctx);
int32_t failing_for(int64_t begin, int64_t end, int64_t grain, void (*task)(int64_t, int64_t, void*), void* ctx);

// Whether kernels.inc has a product, for values of a gs_dtype.
bool has(gs_operation operation, int64_t layout, int64_t type);
// Says that a product was compared with its reference; test_kernels asks for each row and set.
void compared(gs_operation operation, const gs_call& call);

void test_activate();
void test_numbers();
void test_products();
void test_refusals();
void test_chain();
void test_growth();
void test_bytes();
void test_dense();
void test_dropout();
void test_gather();
void test_halves();
void test_plan();
void test_conv();
void test_conv_bytes();
void test_recurrent();
void test_tiles();
void test_byte_tiles();
void test_mixed();
void test_kernels();  // the last

#endif

// Exponentials and the error function on vectors, within a few units of the last place. Where there are fused multiply-adds
// every sum of a product is one, so that vectors of 256 and 512 bits have the same bits. The polynomials interpolate at the
// Chebyshev nodes of their intervals; highest power first.
#ifndef GOSSAMER_SMOOTH_H
#define GOSSAMER_SMOOTH_H

#include "vec.h"

namespace gs {
namespace GS_SET {

template <class T> struct Smooth;
template <> struct Smooth<float> {
  typedef int32_t bits __attribute__((vector_size(GS_VEC_BYTES)));
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float lowest = -104.0f, highest = 89.0f;  // exponentials beyond are 0 and infinite
  static constexpr float vanishing = -80.0f;                 // exp(x) - 1 below is -1
  static constexpr float round = 12582912.0f, log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  // (exp(r) - 1 - r) / r^2 where |r| <= ln(2) / 2
  static constexpr float power[] = {0.000198909911f, 0.00139336498f, 0.00833331048f, 0.0416664667f, 0.166666672f, 0.5f};
  // erf(x) / x - 1 by x^2 where |x| <= 1
  static constexpr float erf[] = {7.87587487e-05f, -0.00080168643f, 0.00518908724f, -0.0268542115f,
                                  0.112835944f,    -0.37612626f,    0.128379166f};
  // -log(1 - erf(x)) by x - centre where 1 <= x <= last; erf(last) is 1
  static constexpr float tail[] = {-1.6371514e-06f, 1.33150143e-05f, -7.72913772e-05f, 0.000420122524f, -0.00216530357f,
                                   0.0108585414f,   0.943893731f,    5.35268068f,      7.80681515f};
  static constexpr float centre = 2.5f, last = 4.0f;
};
template <> struct Smooth<double> {
  typedef int64_t bits __attribute__((vector_size(GS_VEC_BYTES)));
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double lowest = -746.0, highest = 710.0, vanishing = -700.0;
  static constexpr double round = 6755399441055744.0, log2e = 1.4426950408889634;
  static constexpr double ln2_high = 0.6931471805582987, ln2_low = 1.6465949582897082e-12;
  static constexpr double power[] = {
      2.0914686968086876e-09, 2.5105217004720745e-08, 2.7557273643110297e-07, 2.7557255400206422e-06,
      2.4801587325547743e-05, 0.00019841269874820627, 0.0013888888888883748,  0.0083333333333261358,
      0.041666666666666671,   0.16666666666666671,    0.5};
  static constexpr double erf[] = {
      -4.2309458242953377e-12, 8.7090451290531062e-11, -1.216456005728345e-09, 1.4792401209404813e-08,
      -1.6364642158167616e-07, 1.6462045441468418e-06, -1.4925647567519332e-05, 0.00012055332902888736,
      -0.00085483270219348297, 0.0052239776254232985, -0.02686617064512984,    0.11283791670955121,
      -0.37612638903183754,    0.12837916709551259};
  static constexpr double tail[] = {
      -6.3255205887184931e-19, 5.0952776026690955e-18, -7.9541595055272858e-18, -2.0718495744576254e-17,
      2.3727617867631581e-17,  -5.1811269632167103e-16, 8.9333129390366378e-15, -6.7326589439040818e-14,
      3.9365555361178707e-13,  -2.05374382433181e-12,  9.1816325492241738e-12,  -3.0657997470652257e-11,
      2.4797961927313533e-11,  7.7490982160991442e-10, -9.5316623245675591e-09, 8.0693009210598873e-08,
      -5.8561434202146857e-07, 3.8895571774332912e-06, -2.4386373538371929e-05, 0.00014729777488781744,
      -0.00087368732364082372, 0.005225658221942861,   0.96675305474223017,     7.2660995883651909,
      14.112437402148174};
  static constexpr double centre = 3.5, last = 6.0;
};

template <class T> using bits = typename Smooth<T>::bits;

template <class T> GS_INLINE vec<T> absolute(vec<T> x) { return (vec<T>)((bits<T>)x & (bits<T>)~((bits<T>)splat<T>(T(-0.0)))); }
// The magnitude of one number and the sign of the other.
template <class T> GS_INLINE vec<T> with_sign(vec<T> x, vec<T> sign) {
  const bits<T> top = (bits<T>)splat<T>(T(-0.0));
  return (vec<T>)(((bits<T>)x & ~top) | ((bits<T>)sign & top));
}

template <class T, int N> GS_INLINE vec<T> polynomial(const T (&c)[N], vec<T> x) {
  vec<T> p = splat<T>(c[0]);
#pragma GCC unroll 32
  for (int i = 1; i < N; ++i) p = p * x + splat<T>(c[i]);
  return p;
}

// exp(x) = 2^n (1 + p), |p| < 1 / 2. NaN goes through p.
template <class T> struct Power {
  vec<T> p;
  bits<T> n;
};
template <class T> GS_INLINE Power<T> power(vec<T> x) {
  typedef Smooth<T> S;
  const vec<T> shifted = x * splat<T>(S::log2e) + splat<T>(S::round), n = shifted - splat<T>(S::round);
  vec<T> r = x - n * splat<T>(S::ln2_high);
  r = r - n * splat<T>(S::ln2_low);
  const vec<T> squared = r * r;
  return {polynomial<T>(S::power, r) * squared + r, (bits<T>)shifted - (bits<T>)splat<T>(S::round)};
}
template <class T> GS_INLINE vec<T> two_to(bits<T> n) { return (vec<T>)((n + Smooth<T>::bias) << Smooth<T>::mantissa); }

template <class T> GS_INLINE vec<T> between(vec<T> x, T low, T high) {
  x = x < splat<T>(low) ? splat<T>(low) : x;
  return x > splat<T>(high) ? splat<T>(high) : x;
}

template <class T> GS_INLINE vec<T> exponential(vec<T> x) {
  const Power<T> e = power<T>(between<T>(x, Smooth<T>::lowest, Smooth<T>::highest));
  const bits<T> half = e.n >> 1;  // two steps: results may be too small or too large for one
  const vec<T> y = (e.p + splat<T>(1)) * two_to<T>(half);
  return y * two_to<T>(e.n - half);
}

// exp(x) - 1 where x <= 0.
template <class T> GS_INLINE vec<T> exponential_less_one(vec<T> x) {
  const Power<T> e = power<T>(x < splat<T>(Smooth<T>::vanishing) ? splat<T>(Smooth<T>::vanishing) : x);
  const vec<T> scale = two_to<T>(e.n);
  return e.p * scale + (scale - splat<T>(1));
}

template <class T> GS_INLINE vec<T> logistic(vec<T> x) {
  const vec<T> e = exponential<T>(-absolute<T>(x)), one = splat<T>(1);
  return (x < vec<T>{} ? e : one) / (one + e);
}

template <class T> GS_INLINE vec<T> tangent(vec<T> x) {
  const vec<T> size = absolute<T>(x), e = exponential_less_one<T>(-(size + size));
  return with_sign<T>(-e / (splat<T>(2) + e), x);
}

template <class T> GS_INLINE vec<T> error_function(vec<T> x) {
  typedef Smooth<T> S;
  const vec<T> size = absolute<T>(x), one = splat<T>(1), squared = x * x;
  const vec<T> far = between<T>(size, 1, S::last);
  const vec<T> tail = one - exponential<T>(-polynomial<T>(S::tail, far - splat<T>(S::centre)));
  const vec<T> near = polynomial<T>(S::erf, squared) * x + x;
  return size > one ? with_sign<T>(tail, x) : near;
}

}  // namespace GS_SET
}  // namespace gs

#endif

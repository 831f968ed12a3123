package view

import (
	"math"
	"math/big"
	"math/bits"
	"slices"
)

// exactSum is the sum of any number of finite doubles, without rounding: a fixed-point
// number in units of 2^-1074, of signed digits of 32 bits. Adding costs a few
// nanoseconds, and what was added can be taken away again.
//
// It has the digits from low on that were ever needed, a few where amounts are alike:
// a changed row copies the sums that it is in.
type exactSum struct {
	digits []int64
	low    int
	adds   uint32 // since carries were last passed on
}

// clone returns a sum of its own.
func (s *exactSum) clone() exactSum {
	return exactSum{slices.Clone(s.digits), s.low, s.adds}
}

// reach makes room for the digits from low up to high.
func (s *exactSum) reach(low, high int) {
	if s.digits == nil {
		s.low = low
	}
	if low < s.low {
		s.digits = append(make([]int64, s.low-low, s.low-low+len(s.digits)), s.digits...)
		s.low = low
	}
	if more := high - s.low - len(s.digits); more > 0 {
		s.digits = append(s.digits, make([]int64, more)...)
	}
}

// add adds a finite number, or takes it away where sign is -1.
func (s *exactSum) add(f float64, sign int64) {
	u := math.Float64bits(f)
	exponent, mantissa := int(u>>52&0x7ff), u&(1<<52-1)
	if exponent > 0 {
		mantissa |= 1 << 52
		exponent--
	}
	if u>>63 != 0 {
		sign = -sign
	}
	at := exponent / 32
	if at < s.low || at+3 > s.low+len(s.digits) {
		s.reach(at, at+3)
	}
	high, low := bits.Mul64(mantissa, 1<<(exponent%32))
	d := s.digits[at-s.low:]
	d[0] += sign * int64(low&math.MaxUint32)
	d[1] += sign * int64(low>>32)
	d[2] += sign * int64(high)
	if s.adds++; s.adds == 1<<30 { // a digit has room for 2^31
		s.carry()
	}
}

// carry passes on what is above 32 bits.
func (s *exactSum) carry() {
	s.adds = 0
	if top := s.digits[len(s.digits)-1]; top != int64(int32(top)) {
		s.reach(s.low, s.low+len(s.digits)+1)
	}
	for i := range len(s.digits) - 1 {
		c := s.digits[i] >> 32
		s.digits[i] -= c << 32
		s.digits[i+1] += c
	}
}

// float returns the nearest double, an infinity beyond the largest.
func (s *exactSum) float() float64 {
	var n, digit big.Int
	for _, d := range slices.Backward(s.digits) {
		n.Add(n.Lsh(&n, 32), digit.SetInt64(d))
	}
	if n.Sign() == 0 {
		return 0
	}
	f := new(big.Float).SetInt(&n) // as precise as n is long
	f.SetMantExp(f, 32*s.low-1074)
	out, _ := f.Float64()
	return out
}

package view

import (
	"math"
	"math/big"
	"math/bits"
)

// exactSum is the sum of any number of finite doubles, without rounding: a fixed-point
// number in units of 2^-1074, of signed digits of 32 bits. Adding costs a few
// nanoseconds, and what was added can be taken away again.
type exactSum struct {
	digits [sumDigits]int64
	adds   uint32 // since carries were last passed on
}

// sumDigits holds the largest double, and the carries of 2^64 of them.
const sumDigits = (2046+64)/32 + 3

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
	high, low := bits.Mul64(mantissa, 1<<(exponent%32))
	s.digits[at] += sign * int64(low&math.MaxUint32)
	s.digits[at+1] += sign * int64(low>>32)
	s.digits[at+2] += sign * int64(high)
	if s.adds++; s.adds == 1<<30 { // a digit has room for 2^31
		s.carry()
	}
}

func (s *exactSum) carry() {
	s.adds = 0
	for i := range sumDigits - 1 {
		c := s.digits[i] >> 32
		s.digits[i] -= c << 32
		s.digits[i+1] += c
	}
}

// float returns the nearest double, an infinity beyond the largest.
func (s *exactSum) float() float64 {
	low, high := 0, sumDigits-1
	for ; low < sumDigits && s.digits[low] == 0; low++ {
	}
	for ; high > low && s.digits[high] == 0; high-- {
	}
	var n, digit big.Int
	for i := high; i >= low; i-- {
		n.Add(n.Lsh(&n, 32), digit.SetInt64(s.digits[i]))
	}
	if n.Sign() == 0 {
		return 0
	}
	f := new(big.Float).SetInt(&n) // as precise as n is long
	f.SetMantExp(f, 32*low-1074)
	out, _ := f.Float64()
	return out
}

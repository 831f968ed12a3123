package carbonmark

import (
	"fmt"
	"math/big"
	"strings"

	"carbond/feeds/internal/payload"
)

// Tonnes is an on-chain amount: an integer of 18 decimals, without loss.
type Tonnes struct {
	Text  string  `json:"text"`  // decimal, without trailing zeros
	Value float64 `json:"value"` // nearest float64 of Text
}

func (t *Tonnes) float() *float64 {
	if t == nil {
		return nil
	}
	return &t.Value
}

// decimals of all tokens: one tonne is 1e18.
const decimals = 18

var oneTonne = new(big.Int).Exp(big.NewInt(10), big.NewInt(decimals), nil)

// maxWei is maxTonnes as an on-chain integer.
var maxWei = new(big.Int).Mul(big.NewInt(maxTonnes), oneTonne)

// wei reads an on-chain integer. Text with a sign, a comma or a point is not
// one: whether "1,000,000" means units or tonnes cannot be known.
func wei(t payload.Text, field string, tally *payload.Tally) *Tonnes {
	s := t.String()
	if s == "" && !t.Bad() {
		return nil
	}
	if strings.Trim(s, "0123456789") != "" || s == "" || len(s) > 80 {
		tally.Refuse(field)
		return nil
	}
	n, _ := new(big.Int).SetString(s, 10)
	if n.Cmp(maxWei) > 0 {
		tally.Refuse(field)
		return nil
	}
	return tonnes(n)
}

// tonnes converts without passing through float64.
func tonnes(n *big.Int) *Tonnes {
	whole, frac := new(big.Int).QuoRem(n, oneTonne, new(big.Int))
	out := whole.String()
	if frac.Sign() != 0 {
		digits := fmt.Sprintf("%0*d", decimals, frac)
		out += "." + strings.TrimRight(digits, "0")
	}
	v, _ := new(big.Rat).SetFrac(n, oneTonne).Float64()
	return &Tonnes{Text: out, Value: v}
}

// sumTonnes adds exactly; nil when one amount is unknown.
func sumTonnes(credits []Credit) *Tonnes {
	sum := new(big.Rat)
	for _, c := range credits {
		if c.Supply == nil {
			return nil
		}
		v, ok := new(big.Rat).SetString(c.Supply.Text)
		if !ok {
			return nil
		}
		sum.Add(sum, v)
	}
	sum.Mul(sum, new(big.Rat).SetInt(oneTonne))
	return tonnes(sum.Num())
}

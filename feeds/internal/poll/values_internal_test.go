package poll

import "testing"

func TestPGFloat(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 10.5: "10.5", 1430149137: "1430149137", 0.1: "0.1", 1e15: "1e+15", 123456789012345: "123456789012345",
		0.0001: "0.0001", 0.00001: "1e-05", -2.5: "-2.5",
	} {
		if got := pgFloat(v); got != want {
			t.Errorf("pgFloat(%g) = %s, want %s", v, got, want)
		}
	}
}

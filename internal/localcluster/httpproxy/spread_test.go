package httpproxy

import (
	"math"
	"testing"
)

// After 200 requests the shares are right within 1.5 points, and so they are for a visitor who makes every second or
// third request, from wherever one counts.
func TestSpread(t *testing.T) {
	const visits = 200
	for _, total := range []uint32{1, 2, 3, 100, 1000, math.MaxUint32} {
		for _, percent := range []uint64{1, 20, 50, 99} {
			for _, every := range []uint64{1, 2, 3, 7} {
				for _, from := range []uint64{0, 1000, math.MaxUint64 - 50} {
					limit, below := uint32(uint64(total)*percent/100), 0
					for i := range uint64(visits) {
						n := spread(from+i*every, total)
						if n >= total {
							t.Fatalf("%d of %d", n, total)
						}
						if n < limit {
							below++
						}
					}
					want := 100 * float64(limit) / float64(total)
					if got := 100 * float64(below) / visits; math.Abs(got-want) > 1.5 {
						t.Errorf("of %d, every %d from %d: %.1f %%, want %.1f", total, every, from, got, want)
					}
				}
			}
		}
	}
}

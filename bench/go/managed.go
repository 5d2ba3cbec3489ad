// The cycle of Go's own profile with 100,000 stacks, all of which have allocated and freed in
// it: what its collector calls while the world is stopped, and behind that. Both are private;
// the linker lets them through with `-checklinkname=0`.
package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"
	_ "unsafe"
)

//go:linkname nextCycle runtime.mProf_NextCycle
func nextCycle()

//go:linkname flush runtime.mProf_Flush
func flush()

var kept [8]*[64]byte

//go:noinline
func left(path, depth int) int { return down(path, depth) + 1 }

//go:noinline
func right(path, depth int) int { return down(path, depth) + 2 }

// down allocates where the bits of path lead.
func down(path, depth int) int {
	if depth == 0 {
		kept[path%len(kept)] = new([64]byte)
		return 0
	}
	if path&1 == 0 {
		return left(path>>1, depth-1)
	}
	return right(path>>1, depth-1)
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func managed() {
	runtime.MemProfileRate = 1
	var cycles, flushes []time.Duration
	for range 30 {
		for half := range 2 {
			for path := range 100_000 {
				down(path, 28)
			}
			if half == 0 {
				runtime.GC()
			}
		}
		start := time.Now()
		nextCycle()
		cycles = append(cycles, time.Since(start))
		start = time.Now()
		flush()
		flushes = append(flushes, time.Since(start))
	}
	fmt.Printf("%d %d\n", median(cycles).Nanoseconds(), median(flushes).Nanoseconds())
}

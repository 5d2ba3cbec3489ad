// Dumps of ../dumps/src/main.rs in Go: of goroutines, or of as many locked threads; labels and
// the work of ../cpu under Go's CPU profiler.
package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"time"
)

//go:noinline
func nest(depth int, leaf func()) int {
	if depth == 0 {
		leaf()
		return 0
	}
	return nest(depth-1, leaf) + 1
}

// startWaiting starts goroutines that wait, each on a thread of its own if locked.
func startWaiting(count int, locked bool) {
	gate := make(chan struct{})
	var ready sync.WaitGroup
	for i := 0; i < count; i++ {
		ready.Add(1)
		go func() {
			if locked {
				runtime.LockOSThread()
			}
			nest(12, func() {
				ready.Done()
				<-gate
			})
		}()
	}
	ready.Wait()
	go func() {
		for {
		}
	}()
	time.Sleep(100 * time.Millisecond)
}

// printDumps prints two lines: stacks, then text with names, as medians in milliseconds.
func printDumps(count, rounds int, locked bool) {
	startWaiting(count, locked)
	records := make([]runtime.StackRecord, count+100)
	printMedian(rounds, func() { runtime.GoroutineProfile(records) })
	buffer := make([]byte, (count+100)*4096)
	printMedian(rounds, func() { runtime.Stack(buffer, true) })
}

func printMedian(rounds int, work func()) {
	work()
	times := make([]float64, rounds)
	for i := range times {
		start := time.Now()
		work()
		times[i] = time.Since(start).Seconds() * 1e3
	}
	slices.Sort(times)
	fmt.Printf("%.2f\n", times[rounds/2])
}

// printLabel prints the nanoseconds of a label set and dropped.
func printLabel(turns int) {
	best := 1e18
	for round := 0; round < 20; round++ {
		start := time.Now()
		for i := 0; i < turns; i++ {
			pprof.Do(context.Background(), pprof.Labels("tenant", "acme-corp-17"),
				func(context.Context) {})
		}
		best = min(best, float64(time.Since(start).Nanoseconds())/float64(turns))
	}
	fmt.Printf("%.1f\n", best)
}

//go:noinline
func turn(n uint32) uint32 {
	for m := uint32(0); m < 1000; m++ {
		n = n*3 ^ m
	}
	return n
}

// printCPU does the work on so many goroutines and prints the CPU time that it took.
func printCPU(profiled bool, hz, threads, turns int) {
	before := cpuSeconds()
	if profiled {
		if hz != 100 {
			runtime.SetCPUProfileRate(hz)
		}
		pprof.StartCPUProfile(io.Discard)
	}
	var group sync.WaitGroup
	for thread := 0; thread < threads; thread++ {
		group.Add(1)
		go func() {
			defer group.Done()
			nest(32, func() {
				var sum uint32
				for n := 0; n < turns; n++ {
					sum += turn(uint32(n))
				}
				sinks[thread%len(sinks)] = sum
			})
		}()
	}
	group.Wait()
	if profiled {
		pprof.StopCPUProfile()
	}
	fmt.Printf("took %.1f ms\n", (cpuSeconds()-before)*1e3)
}

var sinks [64]uint32

// dumps runs what the command line names; false if it names none of these.
func dumps(words []string) bool {
	number := func(at int) int {
		number, _ := strconv.Atoi(words[at])
		return number
	}
	switch words[0] {
	case "dump":
		printDumps(number(1), number(2), words[3] == "locked")
	case "label":
		printLabel(number(1))
	case "cpu":
		printCPU(words[1] == "profiled", number(2), number(3), number(4))
	default:
		return false
	}
	return true
}

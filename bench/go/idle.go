// 100,000 goroutines that wait in ten places, as ../tasks/work/src/idle.rs has tasks, and dumps
// of them all.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

//go:noinline
func waitInner(place int, told chan struct{}) {
	<-told
	runtime.KeepAlive(place)
}

//go:noinline
func waitIn(place int, told chan struct{}) {
	waitInner(place, told)
}

func residentKiB() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib
		}
	}
	return 0
}

// idle prints bytes a goroutine, then twice seconds, goroutines and bytes of a dump: as pprof,
// which groups them, and as text, one by one.
func idle(count int) {
	told := make([]chan struct{}, count)
	for i := range told {
		told[i] = make(chan struct{})
	}
	runtime.GC()
	before := residentKiB()
	for i := range told {
		go waitIn(i%10, told[i])
	}
	for runtime.NumGoroutine() < count {
		runtime.Gosched()
	}
	time.Sleep(100 * time.Millisecond)
	fmt.Print((residentKiB() - before) * 1024 / float64(count))
	for _, debug := range []int{0, 2} {
		var out bytes.Buffer
		begun := time.Now()
		_ = pprof.Lookup("goroutine").WriteTo(&out, debug)
		fmt.Print(" ", time.Since(begun).Seconds(), " ", count, " ", out.Len())
	}
	fmt.Println()
}

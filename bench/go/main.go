// The workloads of ../workloads/src/lib.rs in Go: same sizes, counts and seeds.
//
// PROFILE=0 or a number of bytes sets runtime.MemProfileRate. The workload
// "callers" prints the cost of runtime.Callers at a depth instead, "contenders" what a
// mutex profile says of five (contenders.go); dumps.go has some more.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const seed = 88172645463325252

var sink *[64]byte
var sinkAny any
var sizes [4096]int

type random uint64

func (r *random) next() uint64 {
	x := uint64(*r)
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*r = random(x)
	return x
}

//go:noinline
func pairs(count int) {
	for i := 0; i < count; i++ {
		sink = new([64]byte)
	}
}

func makeOne(r *random) []byte {
	b := make([]byte, sizes[(r.next()>>20)&4095])
	b[0] = 1
	b[len(b)-1] = 1
	return b
}

func replace(count, live int, start uint64) [][]byte {
	r := random(start)
	set := make([][]byte, live)
	for i := range set {
		set[i] = makeOne(&r)
	}
	for i := 0; i < count; i++ {
		set[(r.next()>>16)%uint64(live)] = makeOne(&r)
	}
	return set
}

func onEightThreads(count int) {
	var group sync.WaitGroup
	var sets [8][][]byte
	for thread := 0; thread < 8; thread++ {
		group.Add(1)
		go func() {
			defer group.Done()
			sets[thread] = replace(count, 12500, uint64(seed+thread*977))
		}()
	}
	group.Wait()
	runtime.KeepAlive(sets)
}

func jsonText(size int) []byte {
	var s bytes.Buffer
	r := random(12345)
	s.WriteByte('[')
	for s.Len() < size {
		if s.Len() > 1 {
			s.WriteByte(',')
		}
		x := r.next()
		fmt.Fprintf(&s, "{\"id\":%d,\"name\":\"user%d\",\"email\":\"user%d@example.com\","+
			"\"tags\":[\"a%d\",\"beta%d\",\"gamma%d\"],\"score\":%d.5,\"active\":true,"+
			"\"nested\":{\"lat\":%d.25,\"lon\":-%d.75,\"note\":\"a longer note, number %d, for padding\"}}",
			x%1000000, x%99991, x%88883, x%7, x%71, x%711, x%100, x%90, x%180, x%12347)
	}
	s.WriteByte(']')
	return s.Bytes()
}

func parseAndBuild(text []byte, count int) {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		panic(err)
	}
	sinkAny = value
	value, sinkAny = nil, nil
	r := random(777)
	m := map[string][]string{}
	for i := 0; i < count; i++ {
		key := fmt.Sprintf("key%d", r.next()%100000)
		m[key] = append(m[key], fmt.Sprintf("value number %d of %d", i, r.next()&0xffff))
	}
	runtime.KeepAlive(m)
}

//go:noinline
func descend(depth int, then func()) int {
	if depth == 0 {
		then()
		return 0
	}
	return descend(depth-1, then) + 1
}

// callers prints nanoseconds and frames of one warm runtime.Callers.
func callers(depth int) {
	var pcs [256]uintptr
	frames, best := 0, math.Inf(1)
	// main, main.main and runtime.goexit stand below.
	descend(depth-7, func() {
		for round := 0; round < 30; round++ {
			start := time.Now()
			for i := 0; i < 2000; i++ {
				frames = runtime.Callers(0, pcs[:])
			}
			best = math.Min(best, float64(time.Since(start).Nanoseconds())/2000)
		}
	})
	fmt.Println(best, frames)
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func peakResidentKiB() string {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			return strings.TrimSuffix(strings.TrimSpace(rest), " kB")
		}
	}
	return "0"
}

func main() {
	if text := os.Getenv("PROFILE"); text != "" {
		runtime.MemProfileRate, _ = strconv.Atoi(text)
	}
	if dumps(os.Args[1:]) {
		return
	}
	for i := range sizes {
		sizes[i] = int(16 * math.Pow(4096, (float64(i)+0.5)/4096))
	}
	scale := 1.0
	if len(os.Args) > 2 {
		scale, _ = strconv.ParseFloat(os.Args[2], 64)
	}
	times := func(count int) int { return int(float64(count) * scale) }
	if os.Args[1] == "callers" {
		callers(int(scale))
		return
	}
	if os.Args[1] == "idle" {
		idle(int(scale))
		return
	}
	if os.Args[1] == "managed" {
		managed()
		return
	}
	if os.Args[1] == "contenders" {
		printContenders()
		return
	}
	var text []byte
	if os.Args[1] == "w3" {
		text = jsonText(times(20000000))
	}
	start, cpu := time.Now(), cpuSeconds()
	switch os.Args[1] {
	case "w1":
		pairs(times(60000000))
	case "w2":
		runtime.KeepAlive(replace(times(1200000), 100000, seed))
	case "w3":
		parseAndBuild(text, times(600000))
	case "w4":
		onEightThreads(times(180000))
	default:
		if !locks(os.Args[1], times(250000)) {
			panic(os.Args[1] + ": no such workload")
		}
	}
	fmt.Println(time.Since(start).Seconds(), cpuSeconds()-cpu, peakResidentKiB())
}

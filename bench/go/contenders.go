// The contenders of ../truth/src/contenders.rs in Go.
package main

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"
)

const unit = 200 * time.Millisecond

// hold is what a clock around the lock saw.
type hold struct {
	begin, end, released time.Time
}

func held(lock *sync.Mutex, units time.Duration) hold {
	begin := time.Now()
	lock.Lock()
	end := time.Now()
	time.Sleep(units * unit)
	released := time.Now()
	lock.Unlock()
	return hold{begin, end, released}
}

//go:noinline
func holdsForOne(lock *sync.Mutex) hold { return held(lock, 1) }

//go:noinline
func holdsForTwo(lock *sync.Mutex) hold { return held(lock, 2) }

//go:noinline
func holdsForThree(lock *sync.Mutex) hold { return held(lock, 3) }

//go:noinline
func holdsForFour(lock *sync.Mutex) hold { return held(lock, 4) }

//go:noinline
func holdsForFive(lock *sync.Mutex) hold { return held(lock, 5) }

// printContenders prints a line for each: true and charged milliseconds.
func printContenders() {
	runtime.SetMutexProfileFraction(1)
	holders := []func(*sync.Mutex) hold{
		holdsForOne, holdsForTwo, holdsForThree, holdsForFour, holdsForFive,
	}
	var lock sync.Mutex
	holds := make([]hold, len(holders))
	var ready, done sync.WaitGroup
	together := make(chan struct{})
	for i, holder := range holders {
		ready.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			ready.Done()
			<-together
			holds[i] = holder(&lock)
		}()
	}
	ready.Wait()
	close(together)
	done.Wait()
	charged := chargedNanos()
	for i, name := range []string{
		"holdsForOne", "holdsForTwo", "holdsForThree", "holdsForFour", "holdsForFive",
	} {
		fmt.Println(name, trueWait(holds, holds[i]).Milliseconds(), int64(charged[name]/1e6))
	}
}

// trueWait is what all have waited from the release before this one's to its own.
func trueWait(holds []hold, holder hold) time.Duration {
	var since time.Time
	for _, other := range holds {
		if other.released.Before(holder.released) && other.released.After(since) {
			since = other.released
		}
	}
	var sum time.Duration
	for _, waiter := range holds {
		begin, end := waiter.begin, waiter.end
		if since.After(begin) {
			begin = since
		}
		if holder.released.Before(end) {
			end = holder.released
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}

// chargedNanos is the mutex profile by the functions above.
func chargedNanos() map[string]float64 {
	var text bytes.Buffer
	pprof.Lookup("mutex").WriteTo(&text, 1)
	_, rest, _ := strings.Cut(text.String(), "cycles/second=")
	var cyclesPerSecond float64
	fmt.Sscan(rest, &cyclesPerSecond)
	records := make([]runtime.BlockProfileRecord, 1000)
	count, _ := runtime.MutexProfile(records)
	sums := map[string]float64{}
	for _, record := range records[:count] {
		frames := runtime.CallersFrames(record.Stack())
		for more := true; more; {
			var frame runtime.Frame
			frame, more = frames.Next()
			name := strings.TrimPrefix(frame.Function, "main.")
			sums[name] += float64(record.Cycles) / cyclesPerSecond * 1e9
		}
	}
	return sums
}

// The workloads of ../locks/src/lib.rs in Go. BLOCK and MUTEX set the rate of
// runtime.SetBlockProfileRate and the fraction of runtime.SetMutexProfileFraction.
package main

import (
	"os"
	"runtime"
	"strconv"
	"sync"
)

const contenders = 8

//go:noinline
func step(held *uint64) {
	for i := 0; i < 16; i++ {
		*held = *held*6364136223846793005 + 1
	}
}

func outside() {
	var own uint64
	for i := 0; i < 4; i++ {
		step(&own)
	}
}

func onAll(rounds int, work func(round int)) {
	var group sync.WaitGroup
	for thread := 0; thread < contenders; thread++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for round := 0; round < rounds; round++ {
				work(round)
				outside()
			}
		}()
	}
	group.Wait()
}

func setContentionProfiles() {
	if text := os.Getenv("BLOCK"); text != "" {
		rate, _ := strconv.Atoi(text)
		runtime.SetBlockProfileRate(rate)
	}
	if text := os.Getenv("MUTEX"); text != "" {
		fraction, _ := strconv.Atoi(text)
		runtime.SetMutexProfileFraction(fraction)
	}
}

// locks runs a workload; false if there is none of this name.
func locks(name string, rounds int) bool {
	setContentionProfiles()
	var held uint64
	switch name {
	case "mutex":
		var lock sync.Mutex
		onAll(rounds, func(int) {
			lock.Lock()
			step(&held)
			lock.Unlock()
		})
	case "rwlock":
		var lock sync.RWMutex
		onAll(rounds, func(round int) {
			if round%4 == 0 {
				lock.Lock()
				step(&held)
				lock.Unlock()
			} else {
				lock.RLock()
				copied := held
				step(&copied)
				lock.RUnlock()
			}
		})
	case "mpsc", "crossbeam":
		senders, receivers := contenders-1, 1
		if name == "crossbeam" {
			senders, receivers = contenders/2, contenders/2
		}
		messages := make(chan int, 16)
		var sending, receiving sync.WaitGroup
		for thread := 0; thread < receivers; thread++ {
			receiving.Add(1)
			go func() {
				defer receiving.Done()
				for range messages {
				}
			}()
		}
		for thread := 0; thread < senders; thread++ {
			sending.Add(1)
			go func() {
				defer sending.Done()
				for round := 0; round < rounds; round++ {
					outside()
					messages <- round
				}
			}()
		}
		sending.Wait()
		close(messages)
		receiving.Wait()
	default:
		return false
	}
	return true
}

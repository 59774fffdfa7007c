// SPDX-License-Identifier: MIT
//
// peer-go channel THREADS CAPACITY: nanoseconds that an item of 8 bytes takes
// from a goroutine to another. The best of some.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

const (
	items  = 400000
	rounds = 5
)

func pass(capacity int) float64 {
	channel := make(chan uint64, capacity)
	start := time.Now()
	go func() {
		for i := uint64(0); i < items; i++ {
			channel <- i
		}
	}()
	for i := uint64(0); i < items; i++ {
		if <-channel != i {
			panic("out of order")
		}
	}
	return float64(time.Since(start).Nanoseconds()) / items
}

func main() {
	if len(os.Args) != 4 || os.Args[1] != "channel" {
		fmt.Fprintln(os.Stderr, "usage: peer-go channel THREADS CAPACITY")
		os.Exit(2)
	}
	threads, err := strconv.Atoi(os.Args[2])
	capacity, err2 := strconv.Atoi(os.Args[3])
	if err != nil || err2 != nil || threads < 1 || capacity < 0 {
		fmt.Fprintln(os.Stderr, "peer-go: bad number")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(threads)
	best := pass(capacity)
	for i := 1; i < rounds; i++ {
		if ns := pass(capacity); ns < best {
			best = ns
		}
	}
	fmt.Printf("%.2f\n", best)
}

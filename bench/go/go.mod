module everprof/bench

go 1.24

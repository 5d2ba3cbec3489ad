// C code as distributions build it: without frame pointers. One source, several
// libraries: PAD moves every frame and every return address.
#include <alloca.h>
#include <stdint.h>
#include <string.h>

#ifndef PAD
#define PAD 0
#endif

typedef void (*leaf_fn)(void *);

__attribute__((noinline)) int deep(int depth, leaf_fn leaf, void *data)
{
    volatile char room[40 + PAD];
    room[0] = (char)depth;
    if (depth == 0)
        leaf(data);
    else
        room[1] = (char)deep(depth - 1, leaf, data);
    return room[0] + room[1];
}

// Stack realigned, and of a size known only at run time: the frame address is
// reached through memory.
__attribute__((noinline)) int realigned(int depth, leaf_fn leaf, void *data)
{
    volatile __attribute__((aligned(64))) char room[64];
    volatile char *more = alloca((unsigned)depth * 24 + 16 + PAD);
    more[0] = room[0] = (char)depth;
    if (depth == 0)
        deep(3, leaf, data);
    else
        room[1] = (char)realigned(depth - 1, leaf, data);
    return room[0] + room[1] + more[0];
}

// A leaf with some work in it, to be interrupted anywhere.
__attribute__((noinline)) unsigned work(unsigned rounds)
{
    unsigned sum = 1;
    char room[64];
    for (unsigned round = 0; round < rounds; round++) {
        memset(room, (int)round, sizeof room);
        __asm__ volatile("" : : "r"(room) : "memory");
        sum = sum * 31 + (unsigned char)room[round % sizeof room];
    }
    return sum;
}

// C++'s operators, and statics that allocate before main.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>
#include <unistd.h>

struct alignas(64) Wide { char bytes[192]; };

__attribute__((noinline)) void *before_main() { return new std::string(5000, 'x'); }
static std::string *early = static_cast<std::string *>(before_main());

static void *kept[8];
__attribute__((noinline)) void by_new() { for (int i = 0; i < 4; i++) kept[i] = operator new(300); }
__attribute__((noinline)) void by_array_new() { kept[4] = new char[12345]; }
__attribute__((noinline)) void by_aligned_new() { kept[5] = new Wide; }
__attribute__((noinline)) void by_delete() {
    for (int i = 0; i < 50; i++) delete new long;
    delete[] new int[100];
    delete new Wide;
}
__attribute__((noinline)) int by_exception() {
    try { kept[6] = new char[static_cast<size_t>(-1) / 4]; } catch (const std::bad_alloc &) { return 1; }
    return 0;
}

int main() {
    by_new(); by_array_new(); by_aligned_new(); by_delete();
    bool right = by_exception() == 1 && reinterpret_cast<size_t>(kept[5]) % 64 == 0 && early->size() == 5000;
    std::puts(right ? "all holds" : "wrong");
    std::fflush(stdout);
    _exit(!right);
}

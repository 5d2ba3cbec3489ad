/* A program that brings a malloc of its own (a bump allocator). */
#include <stddef.h>
static char memory[1 << 20];
static size_t next;
void *malloc(size_t size) { size_t at = next; next += (size + 31) & ~(size_t)15; return memory + at; }
void free(void *object) { (void)object; }
int main(void) { return malloc(10) == NULL; }

/* The time of day as an interpreter of Python sees it, set by whoever writes to the file that STEPPED_CLOCK
   names: seconds to add, a 64-bit number. Loaded by LD_PRELOAD.

   Only calls that come from the interpreter are answered so. What is compiled beside it, as Ray's half, waits
   until moments that the kernel knows by its own clock, which a real step would move along with the clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_s;
static uintptr_t first, last;

static int is_interpreter(const char *path) {
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    return strncmp(name, "python", 6) == 0 || strncmp(name, "libpython", 9) == 0;
}

static int find_interpreter(struct dl_phdr_info *object, size_t size, void *own) {
    (void)size;
    if (!is_interpreter(object->dlpi_name[0] ? object->dlpi_name : own)) return 0;
    for (int place = 0; place < object->dlpi_phnum; place++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[place];
        uintptr_t start = object->dlpi_addr + part->p_vaddr;
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        first = start, last = start + part->p_memsz;
    }
    return strstr(object->dlpi_name, "libpython") != NULL;
}

__attribute__((constructor)) static void begin(void) {
    char own[4096] = "";
    const char *path = getenv("STEPPED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *seen = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (seen == MAP_FAILED) return;
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0) own[0] = 0;
    dl_iterate_phdr(find_interpreter, own);
    offset_s = seen;
}

static int64_t offset_for(const void *caller) {
    uintptr_t from = (uintptr_t)caller;
    return offset_s && from >= first && from < last ? *offset_s : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = (int)syscall(SYS_clock_gettime, clock, now);
    if (status == 0 && clock == CLOCK_REALTIME) now->tv_sec += offset_for(__builtin_return_address(0));
    return status;
}

int gettimeofday(struct timeval *now, void *zone) {
    int status = (int)syscall(SYS_gettimeofday, now, zone);
    if (status == 0) now->tv_sec += offset_for(__builtin_return_address(0));
    return status;
}

time_t time(time_t *out) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    time_t seconds = now.tv_sec + offset_for(__builtin_return_address(0));
    if (out) *out = seconds;
    return seconds;
}

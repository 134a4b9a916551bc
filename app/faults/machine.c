/* A machine of a game's own, as far as a preloaded library can make one: its wall clock, its disk, its power.

   Two doubles in the file $MACHINE_CONTROL steer it: the clock's offset in seconds, and whether the disk is full (1).
   The disk are the files whose paths begin with $MACHINE_DISK. After each fsync of one of them $MACHINE_DURABLE holds
   a copy as it was then: what a power cut leaves.

   As the kernel does it, a wait until a moment of the wall clock sleeps through a step back: each wait looks at the
   shifted clock again every 50 ms. Moments of the monotonic clock are small numbers and pass unchanged. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define REAL(result, name, ...)                  \
    static result (*real)(__VA_ARGS__);          \
    if (!real) real = dlsym(RTLD_NEXT, #name)

#define WALL 1000000000L /* seconds; a monotonic clock does not come so far */
#define SLICE 0.05

static volatile double *control; /* the clock's offset, and whether the disk is full */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MACHINE_CONTROL");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file >= 0) {
        void *found = mmap(NULL, 2 * sizeof(double), PROT_READ, MAP_SHARED, file, 0);
        if (found != MAP_FAILED) control = found;
        close(file);
    }
}

static double shift(void) { return control ? control[0] : 0.0; }

static int real_clock(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    return real(id, now);
}

static void add(struct timespec *at, double seconds) {
    double whole = floor(seconds);
    at->tv_sec += (time_t)whole;
    at->tv_nsec += (long)((seconds - whole) * 1e9);
    if (at->tv_nsec >= 1000000000L) at->tv_sec++, at->tv_nsec -= 1000000000L;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = real_clock(id, now);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) add(now, shift());
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

/* Seconds until `until` on the shifted clock; `slice` becomes the real moment to wait for now. */
static double left(const struct timespec *until, struct timespec *slice) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)(until->tv_sec - now.tv_sec) + (double)(until->tv_nsec - now.tv_nsec) / 1e9;
    real_clock(CLOCK_REALTIME, slice);
    add(slice, seconds <= 0 ? 0 : seconds < SLICE ? seconds : SLICE);
    return seconds;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (until->tv_sec < WALL) return real(cond, mutex, until);
    for (;;) {
        struct timespec slice;
        double seconds = left(until, &slice);
        int result = real(cond, mutex, &slice);
        if (result != ETIMEDOUT || seconds <= 0) return result;
    }
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "cnd_timedwait");
    for (;;) {
        struct timespec slice;
        double seconds = left(until, &slice);
        int result = real(cond, mutex, &slice);
        if (result != thrd_timedout || seconds <= 0) return result;
    }
}

/* The disk. */

static const char *on_disk(int file) { /* the file's name, where it is one of the disk's */
    static __thread char path[PATH_MAX];
    char link[64];
    const char *disk = getenv("MACHINE_DISK");
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = disk ? readlink(link, path, sizeof path - 1) : -1;
    errno = saved;
    if (length < 0) return NULL;
    path[length] = 0;
    return strncmp(path, disk, strlen(disk)) ? NULL : strrchr(path, '/') + 1;
}

static int is_full(int file) {
    if (!control || control[1] == 0.0 || !on_disk(file)) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    return is_full(file) ? -1 : real(file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    return is_full(file) ? -1 : real(file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    return is_full(file) ? -1 : real(file, data, size, at);
}

/* Copies the file through its own descriptor: another one, when it is closed, would end SQLite's locks. */
static int keep(int file, const char *name) {
    static char block[1 << 16];
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    char copy[PATH_MAX], fresh[PATH_MAX + 8];
    const char *folder = getenv("MACHINE_DURABLE");
    if (!folder) return 0;
    snprintf(copy, sizeof copy, "%s/%s", folder, name);
    snprintf(fresh, sizeof fresh, "%s.new", copy);
    pthread_mutex_lock(&one_at_a_time);
    int out = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600), failed = out < 0;
    ssize_t size = 0;
    for (off_t at = 0; !failed && (size = pread(file, block, sizeof block, at)) > 0; at += size)
        failed = write(out, block, (size_t)size) != size;
    if (out >= 0) close(out);
    failed = failed || size < 0 || rename(fresh, copy);
    pthread_mutex_unlock(&one_at_a_time);
    return failed ? -1 : 0;
}

/* A removal is durable at once: SQLite syncs the folder before it relies on one. */
int unlink(const char *path) {
    REAL(int, unlink, const char *);
    const char *disk = getenv("MACHINE_DISK"), *folder = getenv("MACHINE_DURABLE");
    char copy[PATH_MAX];
    int result = real(path);
    if (!result && disk && folder && !strncmp(path, disk, strlen(disk))) {
        int saved = errno;
        snprintf(copy, sizeof copy, "%s/%s", folder, strrchr(path, '/') + 1);
        real(copy);
        errno = saved;
    }
    return result;
}

static int synced(int result, int file) {
    const char *name = result ? NULL : on_disk(file);
    return name ? keep(file, name) : result;
}

int fsync(int file) {
    REAL(int, fsync, int);
    return synced(real(file), file);
}

int fdatasync(int file) {
    REAL(int, fdatasync, int);
    return synced(real(file), file);
}

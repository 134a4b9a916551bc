/* A wall clock that a test can set: preload it, and write the offset in seconds (a double) to the file $CLOCK_OFFSET.

   As the kernel does it, a wait until a moment of the wall clock sleeps through a step back: each wait looks at the
   shifted clock again every 50 ms. Moments of the monotonic clock are small numbers and pass unchanged. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define WALL 1000000000L /* seconds; a monotonic clock does not come so far */
#define SLICE 0.05

static volatile double *offset;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file >= 0) {
        void *found = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, file, 0);
        if (found != MAP_FAILED) offset = found;
        close(file);
    }
}

static double shift(void) { return offset ? *offset : 0.0; }

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

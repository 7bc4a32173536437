/* What the stand-in's driver works with: the device's process, the card's memory, the queue of its work. */
#define _GNU_SOURCE
#include "engine.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ALLOCATIONS 8192

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *arena;
static int pages = -1;
static struct launch *launches[16]; /* on the device, by number: from ended on to launched */
static long launched, ended;
static int device_broke;
static CUstream device_stream;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* -- the device's process ---------------------------------------------------------------------------- */

int ended_until(long number) {
    pthread_mutex_lock(&lock);
    int found = ended >= number;
    pthread_mutex_unlock(&lock);
    return found;
}
long last_launch(void) {
    pthread_mutex_lock(&lock);
    long number = launched;
    pthread_mutex_unlock(&lock);
    return number;
}
void wait_until(long number) {
    pthread_mutex_lock(&lock);
    while (ended < number) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}
int alive(void) { return !ended_until(last_launch()); }
int broken(void) {
    pthread_mutex_lock(&lock);
    int found = device_broke;
    pthread_mutex_unlock(&lock);
    return found;
}

void note(const char *format, ...) {
    char line[512];
    const char *name = getenv("STANDIN_LOG");
    if (!name) return;
    va_list arguments;
    va_start(arguments, format);
    int n = snprintf(line, sizeof line, "%s ", alive() ? "live" : "----");
    n += vsnprintf(line + n, sizeof line - n - 1, format, arguments);
    va_end(arguments);
    n = n < (int)sizeof line - 1 ? n : (int)sizeof line - 2;
    line[n++] = '\n';
    int log = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (write(log, line, n) < 0) abort();
    close(log);
}


struct launch *launch_of(const CUlaunchConfig *config, struct function *f, void **parameters) {
    struct launch *made = calloc(1, sizeof *made);
    made->function = f;
    made->blocks = config->gridDimX;
    made->threads = config->blockDimX;
    char *at = made->given;
    for (int i = 0; f->sizes[i]; at += (f->sizes[i++] + 15) / 16 * 16) {
        if (at + f->sizes[i] > made->given + PARAMETERS) abort();
        memcpy(at, parameters[i], f->sizes[i]);
    }
    return made;
}

static int run_device(const struct launch *l) {
    char numbers[5][24];
    int words = memfd_create("arguments", 0);
    if (write(words, l->given, PARAMETERS) < 0) abort();
    int values[] = {pages, l->function->code, words, l->blocks, l->threads};
    for (int i = 0; i < 5; i++) snprintf(numbers[i], sizeof *numbers, "%d", values[i]);
    const char *log_name = getenv("STANDIN_LOG"), *program = getenv("STANDIN_DEVICE");
    pid_t device = vfork();
    if (device == 0) {
        setsid(); /* no signal to the host's terminal or group reaches a device */
        int log = open(log_name ? log_name : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(log, 1);
        dup2(log, 2);
        execl(program, program, numbers[0], numbers[1], numbers[2], l->function->name, numbers[3], numbers[4],
              (char *)NULL);
        _exit(127);
    }
    close(words);
    int status = 1;
    waitpid(device, &status, 0);
    return status;
}
static _Noreturn void *run_devices(void *nothing) {
    for (;;) {
        pthread_mutex_lock(&lock);
        while (ended == launched) pthread_cond_wait(&changed, &lock);
        struct launch *l = launches[ended % 16];
        int lost = device_broke; /* nothing runs after a kernel that a fault has ended */
        pthread_mutex_unlock(&lock);
        int status = lost ? 1 : run_device(l);
        free(l);
        pthread_mutex_lock(&lock);
        device_broke = status != 0;
        ended++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
}
void launch_on_device(struct launch *l, CUstream stream) {
    pthread_mutex_lock(&lock);
    if (launched - ended == 16) abort();
    if (launched == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_devices, NULL)) abort();
    }
    device_stream = stream;
    launches[launched++ % 16] = l;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int with_the_kernel(CUstream stream) { return last_launch() && stream == device_stream; }

/* -- memory ------------------------------------------------------------------------------------------ */

static struct allocation { char *at; size_t n; } allocations[ALLOCATIONS]; /* by address */
static int n_allocations;

void *take(size_t n) {
    char *made = NULL;
    pthread_mutex_lock(&lock);
    if (!arena) {
        pages = memfd_create("card", 0); /* inherited: the device's process maps it too */
        if (pages < 0 || ftruncate(pages, ARENA)) abort();
        arena = mmap(BASE, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, pages, 0);
        if (arena != BASE) abort();
    }
    size_t room = (n + 511) / 512 * 512 + 512; /* so that the next one does not begin where this one ends */
    char *end = arena;
    int i = 0;
    for (; i < n_allocations && (size_t)(allocations[i].at - end) < room; i++)
        end = allocations[i].at + allocations[i].n;
    size_t left = (i < n_allocations ? allocations[i].at : arena + ARENA) - end;
    if (left >= room && n_allocations < ALLOCATIONS) {
        memmove(allocations + i + 1, allocations + i, (n_allocations++ - i) * sizeof *allocations);
        allocations[i] = (struct allocation){made = end, room};
        memset(made, 0xa5, room);
    }
    pthread_mutex_unlock(&lock);
    return made;
}
CUresult give_back(void *old) {
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_allocations; i++)
        if (allocations[i].at == old) {
            memmove(allocations + i, allocations + i + 1, (--n_allocations - i) * sizeof *allocations);
            result = CUDA_SUCCESS;
        }
    pthread_mutex_unlock(&lock);
    return result;
}
size_t unused_memory(void) {
    size_t unused = ARENA;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_allocations; i++) unused -= allocations[i].n;
    pthread_mutex_unlock(&lock);
    return unused;
}
int on_card(const void *at) { return arena && (char *)at >= arena && (char *)at < arena + ARENA; }
int within_one(const void *at, size_t n) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_allocations && !found; i++)
        found = (char *)at >= allocations[i].at && (char *)at + n <= allocations[i].at + allocations[i].n - 512;
    pthread_mutex_unlock(&lock);
    return found;
}

/* -- what is done in its order ------------------------------------------------------------------------ */

static struct work *first, **last = &first;
static int busy, serving;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;

static void run(struct launch *l) {
    char *parameters[PARAMETERS / 16], *at = l->given;
    for (int i = 0; l->function->sizes[i]; at += (l->function->sizes[i++] + 15) / 16 * 16) parameters[i] = at;
    run_grid(&(struct grid){l->function->kernel, l->blocks, l->threads, l->function->shared, parameters, 0});
}
static _Noreturn void *serve(void *nothing) {
    unsigned seed = 1;
    const char *most = getenv("STANDIN_DELAY_US");
    for (;;) {
        pthread_mutex_lock(&lock);
        while (!first) pthread_cond_wait(&more, &lock);
        struct work *w = first;
        if (!(first = w->next)) last = &first;
        busy = 1;
        pthread_mutex_unlock(&lock);
        if (w->target) {
            usleep(rand_r(&seed) % (most ? atoi(most) : 50));
            memcpy(w->target, w->source, w->n);
        }
        if (w->launch) run(w->launch);
        if (w->launch && !w->kept) free(w->launch);
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        pthread_mutex_lock(&lock);
        if (w->event) {
            w->event->at_ms = now.tv_sec * 1e3 + now.tv_nsec / 1e6;
            w->event->pending--;
        }
        busy = 0;
        pthread_cond_broadcast(&done);
        pthread_mutex_unlock(&lock);
        free(w);
    }
}
void enqueue(struct work asked) {
    struct work *w = malloc(sizeof *w);
    *w = asked;
    pthread_mutex_lock(&lock);
    if (!serving) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL)) abort();
        serving = 1;
    }
    if (w->event) w->event->pending++;
    *last = w;
    last = &w->next;
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
}
void drain(void) {
    pthread_mutex_lock(&lock);
    while (first || busy) pthread_cond_wait(&done, &lock);
    pthread_mutex_unlock(&lock);
}

/* What the driver's calls are made of; see engine.c. Any thread may call any of these. */
#include <cuda.h>
#include <stddef.h>

#include "grid.h"

struct function { /* a kernel or function of a loaded library */
    kernel_t kernel;
    const int *sizes;
    int shared, code;
    char name[2048];
};
struct launch {
    struct function *function;
    unsigned blocks, threads;
    char given[PARAMETERS];
};
struct event { double at_ms; int pending; long behind; /* which launch on the device */ };
struct work {
    struct work *next;
    void *target;
    const void *source;
    size_t n;
    struct launch *launch; /* kept by a graph, or freed when it has run */
    int kept;
    struct event *event;
};

int alive(void);                     /* whether a cooperative grid runs, or is to run */
int broken(void);                    /* whether the last one ended by a fault: for good, as with a real one */
int with_the_kernel(CUstream stream); /* whether the last one was launched on this stream */
long last_launch(void);              /* its number, from 1 on */
int ended_until(long number);        /* whether it has ended */
void wait_until(long number);        /* wait for that */
void note(const char *format, ...) __attribute__((format(printf, 1, 2))); /* to the log */

void *take(size_t n);        /* NULL if there is no room */
CUresult give_back(void *old);
size_t unused_memory(void);
int on_card(const void *at);
int within_one(const void *at, size_t n); /* allocation */

struct launch *launch_of(const CUlaunchConfig *config, struct function *f, void **parameters);
void launch_on_device(struct launch *l, CUstream stream); /* behind those before */
void enqueue(struct work asked); /* to be done after what was asked for before, a little later */
void drain(void);                /* wait until all of it is done */

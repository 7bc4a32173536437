/* The stand-in card's processor: runs a grid of the kernels that assembler.py makes.
 *
 * A block is a thread of this machine, its threads take turns on it: each runs until it comes to a barrier,
 * naps, or has looked at a word a number of times, as one does that waits for another. So the threads of
 * a block meet in an order of ours; blocks run beside each other, and beside the host, as they like.
 *
 * Built into the driver for launches that end, and with -DDEVICE as a program of its own that is given
 * memory, code and arguments as open files: it runs a cooperative grid, and outlives its host.
 */
#define _GNU_SOURCE
#include "machine.h"
#include "grid.h"
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK (128ul << 10)
#define PATIENCE 32 /* looks at a word between two turns */

char *machine_first = BASE, *machine_last = BASE + ARENA;

enum state { NEW, READY, WAITS, DONE };
struct fiber {
    struct thread thread; /* first: a thread is its fiber */
    enum state state;
    jmp_buf at;
    ucontext_t begins;
};
struct run {
    struct block block;
    kernel_t kernel;
    char *const *parameters;
    struct fiber *fibers;
    char *stacks;
    unsigned able; /* fibers that neither wait nor are done */
    unsigned looks;
    jmp_buf scheduler;
};
static __thread struct run *here;
static __thread struct fiber *current;

static void turn_ends(void) {
    if (!_setjmp(current->at)) _longjmp(here->scheduler, 1);
}
static void pass(void) {
    struct timespec a_little = {0, 20000};
    if (here->able > 1) turn_ends();
    else nanosleep(&a_little, NULL); /* whom it waits for may need the core */
}
void machine_glance(struct thread *t) {
    if (++here->looks % PATIENCE == 0) pass();
}
void machine_barrier(struct thread *t) {
    ((struct fiber *)t)->state = WAITS;
    here->able--;
    turn_ends();
}
void machine_nap(struct thread *t, unsigned ns) {
    struct timespec time = {0, ns < 1000000 ? ns : 1000000};
    if (here->able > 1) turn_ends();
    else nanosleep(&time, NULL);
}
void machine_fault(uint64_t address) {
    fprintf(stderr, "device: fault at 0x%lx\n", address);
    fflush(stderr);
    _exit(FAULT);
}
uint64_t machine_clock64(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ul + now.tv_nsec;
}
/* Like a card's: of another origin than the host's clock, and in coarse steps. */
uint64_t machine_globaltimer(void) { return (machine_clock64() / 1024 + (1ul << 50)) * 1024; }

/* -- orders: how often each was met, and which one is taken out, a mistake to be noticed ------------------ */

static struct { const char *name; unsigned long n; } orders[16];
static const char *without;
__attribute__((constructor)) static void read_environment(void) { without = getenv("STANDIN_WITHOUT"); }
int machine_orders(const char *name) {
    static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
    unsigned i = 0;
    pthread_mutex_lock(&counting);
    while (orders[i].name && strcmp(orders[i].name, name))
        if (++i == sizeof orders / sizeof *orders) abort();
    orders[i].name = name;
    orders[i].n++;
    pthread_mutex_unlock(&counting);
    return !without || strcmp(without, name);
}

/* -- a weak memory ------------------------------------------------------------------------------------
 *
 * Code that is compiled with -DWEAK reaches the card's memory through its block's hoard, as hostile as the PTX
 * memory model lets it be. A word that was loaded is kept, and found again as it was. An acquire or a fence looks
 * at all that is kept, at once: later loads find what was there then, as if they had been made early. What
 * is stored stays here, too, until the block releases, or goes to the memory earlier in any order. Loads and
 * stores with a scope go to the memory itself.
 */
#define WORDS 4096 /* a power of two */
struct word { uint64_t at, value; unsigned char kept, dirty; }; /* dirty: a bit per byte */
struct hoard { unsigned n_dirty, seed; unsigned dirty[WORDS]; struct word words[WORDS]; };

static void write_back(struct word *w) {
    if (w->dirty == 0xff) __atomic_store_n((uint64_t *)w->at, w->value, __ATOMIC_RELAXED);
    else
        for (int i = 0; i < 8; i++)
            if (w->dirty >> i & 1) ((volatile char *)w->at)[i] = (char)(w->value >> 8 * i);
    w->dirty = 0;
}
static void look(struct word *w) {
    uint64_t mask = 0, now = __atomic_load_n((uint64_t *)w->at, __ATOMIC_RELAXED);
    for (int i = 0; i < 8; i++) mask |= (uint64_t)(w->dirty >> i & 1 ? 0xff : 0) << 8 * i;
    w->value = (w->value & mask) | (now & ~mask);
    w->kept = 1;
}
static struct word *word_of(struct hoard *h, uint64_t at) {
    struct word *w = h->words + (at / 8 * 0x9e3779b97f4a7c15u >> 52);
    if (w->at != at) {
        if (w->dirty) write_back(w); /* its place is needed */
        *w = (struct word){.at = at};
    }
    return w;
}
static uint64_t mask_of(unsigned size) { return size == 8 ? ~0ul : (1ul << 8 * size) - 1; }
uint64_t machine_weak_load(struct block *b, uint64_t at, unsigned size) {
    struct word *w = word_of(b->hoard, at & ~7ul);
    if (!w->kept) look(w);
    return w->value >> 8 * (at & 7) & mask_of(size);
}
void machine_weak_store(struct block *b, uint64_t at, uint64_t value, unsigned size) {
    struct hoard *h = b->hoard;
    struct word *w = word_of(h, at & ~7ul);
    unsigned by = 8 * (at & 7);
    uint64_t mask = mask_of(size) << by;
    if (!w->dirty) {
        if (h->n_dirty == WORDS) machine_publish(b);
        h->dirty[h->n_dirty++] = w - h->words;
    }
    w->value = (w->value & ~mask) | (value << by & mask);
    w->dirty |= ((1u << size) - 1) << (at & 7);
    if (rand_r(&h->seed) % 8 == 0) write_back(h->words + h->dirty[rand_r(&h->seed) % h->n_dirty]);
}
void machine_strong(struct block *b, uint64_t at) {
    struct word *w = word_of(b->hoard, at & ~7ul);
    if (w->dirty) write_back(w);
    w->kept = 0;
}
void machine_publish(struct block *b) {
    struct hoard *h = b->hoard;
    while (h->n_dirty) {
        struct word *w = h->words + h->dirty[--h->n_dirty];
        if (w->dirty) write_back(w);
    }
}
void machine_renew(struct block *b) {
    for (struct word *w = b->hoard->words; w < b->hoard->words + WORDS; w++)
        if (w->kept) look(w);
}

static void begin(void) {
    here->kernel(&current->thread, here->parameters);
    current->state = DONE;
    here->able--;
    _longjmp(here->scheduler, 1);
}
static void resume(struct fiber *f, char *stack) {
    current = f;
    if (_setjmp(here->scheduler)) return;
    if (f->state == NEW) {
        f->state = READY;
        getcontext(&f->begins);
        f->begins.uc_stack.ss_sp = stack;
        f->begins.uc_stack.ss_size = STACK;
        makecontext(&f->begins, begin, 0);
        setcontext(&f->begins);
    }
    _longjmp(f->at, 1);
}
static void *run_block(void *argument) {
    struct run *run = here = argument;
    unsigned n = run->block.threads, left = n;
    run->able = n;
    run->block.hoard = calloc(1, sizeof *run->block.hoard);
    run->block.hoard->seed = run->block.index;
    for (unsigned i = 0; i < n; i++)
        run->fibers[i] = (struct fiber){.thread = {.tid = i, .block = &run->block}, .state = NEW};
    while (left) {
        left = 0;
        for (unsigned i = 0; i < n; i++) {
            struct fiber *f = run->fibers + i;
            if (f->state == NEW || f->state == READY) resume(f, run->stacks + i * STACK);
            left += f->state != DONE;
        }
        if (run->able == 0)
            for (unsigned i = 0; i < n; i++)
                if (run->fibers[i].state == WAITS) {
                    run->fibers[i].state = READY;
                    run->able++;
                }
    }
    machine_publish(&run->block);
    free(run->block.hoard);
    return NULL;
}

static struct run *prepared(const struct grid *g, unsigned index) {
    struct run *run = calloc(1, sizeof *run);
    run->block = (struct block){index, g->blocks, g->threads, NULL};
    run->kernel = g->kernel;
    run->parameters = g->parameters;
    run->fibers = calloc(g->threads, sizeof *run->fibers);
    run->stacks = mmap(NULL, g->threads * STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    run->block.shared = aligned_alloc(64, (g->shared / 64 + 1) * 64);
    if (!run->fibers || run->stacks == MAP_FAILED || !run->block.shared) abort();
    memset(run->block.shared, 0xa5, g->shared); /* nothing is zero by itself */
    return run;
}
static void dropped(struct run *run) {
    munmap(run->stacks, run->block.threads * STACK);
    free(run->block.shared);
    free(run->fibers);
    free(run);
}

void run_grid(const struct grid *g) {
    if (!g->together) {
        struct run *run = prepared(g, 0);
        for (unsigned i = 0; i < g->blocks; i++) {
            run->block.index = i;
            run_block(run);
        }
        dropped(run);
        return;
    }
    pthread_t *threads = calloc(g->blocks, sizeof *threads);
    struct run **runs = calloc(g->blocks, sizeof *runs);
    for (unsigned i = 0; i < g->blocks; i++) {
        runs[i] = prepared(g, i);
        if (pthread_create(threads + i, NULL, run_block, runs[i])) abort();
    }
    for (unsigned i = 0; i < g->blocks; i++) {
        pthread_join(threads[i], NULL);
        dropped(runs[i]);
    }
    free(runs);
    free(threads);
}

void *symbol(void *code, const char *kernel, const char *suffix) {
    char name[4096];
    snprintf(name, sizeof name, "%s%s", kernel, suffix);
    return dlsym(code, name);
}

#ifdef DEVICE
int main(int argc, char **argv) {
    int pages = atoi(argv[1]), words = atoi(argv[3]), n = 0;
    char path[64], given[PARAMETERS] = {0}, *parameters[PARAMETERS], *at = given;
    if (mmap(BASE, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, pages, 0) != BASE) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%s", argv[2]);
    void *code = dlopen(path, RTLD_NOW);
    if (!code) {
        fprintf(stderr, "device: %s\n", dlerror());
        return FAULT;
    }
    if (pread(words, given, sizeof given, 0) < 0) abort();
    for (const int *size = symbol(code, argv[4], "__sizes"); *size; at += (*size++ + 15) / 16 * 16)
        parameters[n++] = at;
    struct grid grid = {
        .kernel = (kernel_t)symbol(code, argv[4], ""),
        .blocks = atoi(argv[5]),
        .threads = atoi(argv[6]),
        .shared = *(int *)symbol(code, argv[4], "__shared"),
        .parameters = parameters,
        .together = 1,
    };
    printf("device: process %d\n", getpid());
    fflush(stdout);
    run_grid(&grid);
    for (unsigned i = 0; orders[i].name; i++) printf("device: %lu %s\n", orders[i].n, orders[i].name);
    printf("device: the grid has ended\n");
    return 0;
}
#endif

/* What the driver and the machine agree on. */
#define BASE ((char *)0x7e9000000000ul) /* where host and device both map the card's memory */
#define ARENA (2ul << 30)
#define PARAMETERS 4096 /* bytes of a kernel's arguments at most, each at a multiple of 16 */
#define FAULT 70        /* exit status of a device that met one */

struct thread;
typedef void (*kernel_t)(struct thread *, char *const *);
struct grid {
    kernel_t kernel;
    unsigned blocks, threads, shared;
    char *const *parameters;
    int together; /* cooperative: all blocks at once */
};
void run_grid(const struct grid *g);
void *symbol(void *code, const char *kernel, const char *suffix);

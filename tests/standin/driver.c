/* A stand-in for libcuda.so.1, so that the CUDA backend runs where there is no GPU: host side and kernel.
 *
 * Device memory and pinned memory are pages without a name, mapped at a fixed address. Code is what
 * assembler.py made of PTX. A cooperative launch starts a process (machine.c) that maps the same pages at the
 * same address, when the one before has ended: like a device, it runs beside the host and outlives it. Copies,
 * events and other launches are done in their order by one thread, each a little later than it was asked
 * for. Calls are logged, with whether the kernel lives.
 *
 * Stricter than a driver where that finds mistakes: what would wait for the living kernel fails at once and is
 * logged as "waits", but with STANDIN_PATIENT it waits as a driver does, holding the context's lock; memory is
 * never zero; a copy must lie within one allocation; a thread without a context is told so. What this cannot
 * show: timing, how the memories of a real device order what is written to them, and whatever else is a device's
 * own.
 */
#define _GNU_SOURCE
#include "engine.h"

#include <dlfcn.h>
#include <elf.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LIVE_WITHOUT_IT(name)                                                                            \
    do {                                                                                                 \
        if (alive()) {                                                                                   \
            note("waits: %s", name);                                                                     \
            if (!getenv("STANDIN_PATIENT")) return CUDA_ERROR_LAUNCH_TIMEOUT;                            \
            long number = last_launch();                                                                 \
            pthread_mutex_lock(&context);                                                                \
            wait_until(number);                                                                          \
            pthread_mutex_unlock(&context);                                                              \
        }                                                                                                \
    } while (0)
#define NEEDS_CONTEXT                                                                                    \
    do {                                                                                                 \
        if (!current) return CUDA_ERROR_INVALID_CONTEXT;                                                 \
        pthread_mutex_lock(&context);                                                                    \
        pthread_mutex_unlock(&context);                                                                  \
        if (broken()) return CUDA_ERROR_ILLEGAL_ADDRESS;                                                 \
    } while (0)

struct library { void *handle; int code; };

static __thread CUcontext current; /* each thread has its own */
static pthread_mutex_t context = PTHREAD_MUTEX_INITIALIZER; /* held by a call that waits for the kernel */
static int retained;
static long handles = 0x1000;
static int eager; /* read once, as a driver does */

#define CALL(name, ...) static CUresult f_##name(__VA_ARGS__)
#define LIST(X)                                                                                          \
    X(cuInit) X(cuDriverGetVersion) X(cuDeviceGetCount) X(cuDeviceGet) X(cuDeviceGetName)                \
    X(cuDeviceGetUuid) X(cuDeviceTotalMem) X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain)           \
    X(cuDevicePrimaryCtxRelease) X(cuDevicePrimaryCtxGetState) X(cuCtxGetCurrent) X(cuCtxSetCurrent)     \
    X(cuCtxPushCurrent) X(cuCtxPopCurrent) X(cuCtxGetDevice) X(cuCtxSynchronize)                         \
    X(cuCtxGetStreamPriorityRange) X(cuMemGetInfo) X(cuMemAlloc) X(cuMemFree) X(cuMemHostAlloc)          \
    X(cuMemFreeHost) X(cuMemHostGetDevicePointer) X(cuMemcpyHtoD) X(cuMemcpyDtoH) X(cuMemcpyDtoD)        \
    X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync) X(cuStreamCreateWithPriority)         \
    X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamSynchronize) X(cuStreamGetCtx) X(cuStreamGetFlags)    \
    X(cuStreamWaitEvent) X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord) X(cuEventQuery)             \
    X(cuEventSynchronize) X(cuEventElapsedTime) X(cuLibraryLoadData) X(cuLibraryUnload)                  \
    X(cuLibraryGetKernel) X(cuLibraryGetModule) X(cuKernelGetFunction) X(cuFuncGetAttribute)             \
    X(cuKernelGetAttribute) X(cuOccupancyMaxActiveBlocksPerMultiprocessor) X(cuLaunchKernelEx)           \
    X(cuStreamBeginCapture) X(cuStreamEndCapture) X(cuGraphInstantiate) X(cuGraphInstantiateWithFlags)   \
    X(cuGraphLaunch) X(cuModuleGetLoadingMode) X(cuGetErrorName) X(cuGetErrorString)

/* cuda.h redirects names to versions of functions; here they are the plain ones. */
#undef cuDeviceGetUuid
#undef cuDeviceTotalMem
#undef cuDevicePrimaryCtxRelease
#undef cuCtxPushCurrent
#undef cuCtxPopCurrent
#undef cuMemGetInfo
#undef cuMemAlloc
#undef cuMemFree
#undef cuMemHostGetDevicePointer
#undef cuMemcpyHtoD
#undef cuMemcpyDtoH
#undef cuMemcpyDtoD
#undef cuMemcpyHtoDAsync
#undef cuMemcpyDtoHAsync
#undef cuMemcpyDtoDAsync
#undef cuStreamDestroy
#undef cuStreamGetCtx
#undef cuEventDestroy
#undef cuEventElapsedTime
#undef cuStreamBeginCapture
#undef cuGraphInstantiate
#undef cuGetProcAddress

#define NEXT(pointer) (*(long *)(pointer) = __sync_add_and_fetch(&handles, 16), CUDA_SUCCESS)

CALL(cuInit, unsigned flags) {
    const char *asked = getenv("CUDA_MODULE_LOADING");
    eager = asked && !strcmp(asked, "EAGER");
    Dl_info self;
    dladdr((void *)run_grid, &self);
    if (!dlopen(self.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD)) abort(); /* kernels call machine_* */
    return CUDA_SUCCESS;
}
CALL(cuDriverGetVersion, int *version) { *version = 13000; return CUDA_SUCCESS; }
CALL(cuDeviceGetCount, int *n) { *n = 1; return CUDA_SUCCESS; }
CALL(cuDeviceGet, CUdevice *found, int i) { *found = 0; return CUDA_SUCCESS; }
CALL(cuDeviceGetName, char *name, int n, CUdevice d) { snprintf(name, n, "stand-in"); return CUDA_SUCCESS; }
CALL(cuDeviceGetUuid, CUuuid *id, CUdevice d) { memset(id, 1, sizeof *id); return CUDA_SUCCESS; }
CALL(cuDeviceTotalMem, size_t *n, CUdevice d) { *n = ARENA; return CUDA_SUCCESS; }
CALL(cuDeviceGetAttribute, int *value, CUdevice_attribute which, CUdevice d) {
    switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    default: *value = 1024;
    }
    return CUDA_SUCCESS;
}
CALL(cuDevicePrimaryCtxRetain, CUcontext *made, CUdevice d) {
    *made = (CUcontext)0x100;
    retained = 1;
    return CUDA_SUCCESS;
}
CALL(cuDevicePrimaryCtxRelease, CUdevice d) { return CUDA_SUCCESS; }
CALL(cuDevicePrimaryCtxGetState, CUdevice d, unsigned *flags, int *active) {
    *flags = 0;
    *active = retained;
    return CUDA_SUCCESS;
}
CALL(cuCtxGetCurrent, CUcontext *found) { *found = current; return CUDA_SUCCESS; }
CALL(cuCtxSetCurrent, CUcontext chosen) { current = chosen; return CUDA_SUCCESS; }
CALL(cuCtxPushCurrent, CUcontext chosen) { current = chosen; return CUDA_SUCCESS; }
CALL(cuCtxPopCurrent, CUcontext *found) { *found = current; return CUDA_SUCCESS; }
CALL(cuCtxGetDevice, CUdevice *found) { *found = 0; return CUDA_SUCCESS; }
CALL(cuCtxSynchronize, void) {
    NEEDS_CONTEXT;
    LIVE_WITHOUT_IT("cuCtxSynchronize");
    drain();
    return CUDA_SUCCESS;
}
CALL(cuCtxGetStreamPriorityRange, int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}
CALL(cuMemGetInfo, size_t *unused, size_t *all) {
    *unused = unused_memory();
    *all = ARENA;
    return CUDA_SUCCESS;
}
CALL(cuMemAlloc, CUdeviceptr *made, size_t n) {
    NEEDS_CONTEXT;
    LIVE_WITHOUT_IT("cuMemAlloc");
    *made = (CUdeviceptr)take(n);
    return *made ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CALL(cuMemFree, CUdeviceptr old) {
    LIVE_WITHOUT_IT("cuMemFree");
    drain();
    return give_back((void *)old);
}
CALL(cuMemHostAlloc, void **made, size_t n, unsigned flags) {
    NEEDS_CONTEXT;
    LIVE_WITHOUT_IT("cuMemHostAlloc");
    *made = take(n);
    return *made ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CALL(cuMemFreeHost, void *old) {
    LIVE_WITHOUT_IT("cuMemFreeHost");
    drain();
    return give_back(old);
}
CALL(cuMemHostGetDevicePointer, CUdeviceptr *found, void *host, unsigned flags) {
    *found = (CUdeviceptr)host;
    return CUDA_SUCCESS;
}
static CUresult copied(const char *how, void *target, const void *source, size_t n, CUstream stream, int async) {
    NEEDS_CONTEXT;
    /* Memory that is not pinned is not the card's; a copy to or from it may wait for the kernel. */
    int pinned = on_card(target) && on_card(source);
    note("%s stream=%p %s", how, (void *)stream, pinned ? "pinned" : "pageable");
    if (!stream || !pinned) LIVE_WITHOUT_IT(how);
    if ((on_card(target) && !within_one(target, n)) || (on_card(source) && !within_one(source, n)))
        return CUDA_ERROR_INVALID_VALUE;
    if (n) enqueue((struct work){.target = target, .source = source, .n = n});
    if (!async || !pinned) drain();
    return CUDA_SUCCESS;
}
CALL(cuMemcpyHtoD, CUdeviceptr t, const void *s, size_t n) { return copied("cuMemcpyHtoD", (void *)t, s, n, 0, 0); }
CALL(cuMemcpyDtoH, void *t, CUdeviceptr s, size_t n) { return copied("cuMemcpyDtoH", t, (void *)s, n, 0, 0); }
CALL(cuMemcpyDtoD, CUdeviceptr t, CUdeviceptr s, size_t n) {
    return copied("cuMemcpyDtoD", (void *)t, (void *)s, n, 0, 0);
}
CALL(cuMemcpyHtoDAsync, CUdeviceptr t, const void *s, size_t n, CUstream stream) {
    return copied("cuMemcpyHtoDAsync", (void *)t, s, n, stream, 1);
}
CALL(cuMemcpyDtoHAsync, void *t, CUdeviceptr s, size_t n, CUstream stream) {
    return copied("cuMemcpyDtoHAsync", t, (void *)s, n, stream, 1);
}
CALL(cuMemcpyDtoDAsync, CUdeviceptr t, CUdeviceptr s, size_t n, CUstream stream) {
    return copied("cuMemcpyDtoDAsync", (void *)t, (void *)s, n, stream, 1);
}
CALL(cuStreamCreateWithPriority, CUstream *made, unsigned flags, int priority) {
    NEEDS_CONTEXT;
    NEXT(made);
    note("cuStreamCreate %p flags=%u", (void *)*made, flags);
    return CUDA_SUCCESS;
}
CALL(cuStreamCreate, CUstream *made, unsigned flags) { return f_cuStreamCreateWithPriority(made, flags, 0); }
CALL(cuStreamDestroy, CUstream old) { note("cuStreamDestroy"); return CUDA_SUCCESS; }
CALL(cuStreamSynchronize, CUstream stream) {
    if (!stream || with_the_kernel(stream)) LIVE_WITHOUT_IT("cuStreamSynchronize");
    note("cuStreamSynchronize");
    drain();
    return broken() ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS;
}
CALL(cuStreamGetCtx, CUstream stream, CUcontext *found) { *found = current; return CUDA_SUCCESS; }
CALL(cuStreamGetFlags, CUstream stream, unsigned *flags) { *flags = 1; return CUDA_SUCCESS; }
CALL(cuStreamWaitEvent, CUstream stream, CUevent event, unsigned flags) { return CUDA_SUCCESS; }
CALL(cuEventCreate, CUevent *made, unsigned flags) {
    NEEDS_CONTEXT;
    *made = (CUevent)calloc(1, sizeof(struct event));
    return CUDA_SUCCESS;
}
CALL(cuEventDestroy, CUevent old) { return CUDA_SUCCESS; }
CALL(cuEventRecord, CUevent event, CUstream stream) {
    note("cuEventRecord stream=%p", (void *)stream);
    if (!stream) LIVE_WITHOUT_IT("cuEventRecord");
    ((struct event *)event)->behind = with_the_kernel(stream) ? last_launch() : 0;
    enqueue((struct work){.event = (struct event *)event});
    return CUDA_SUCCESS;
}
CALL(cuEventQuery, CUevent event) {
    struct event *e = (struct event *)event;
    if (broken()) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (!ended_until(e->behind)) return CUDA_ERROR_NOT_READY;
    return __atomic_load_n(&e->pending, __ATOMIC_ACQUIRE) ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
CALL(cuEventSynchronize, CUevent event) {
    if (((struct event *)event)->behind) LIVE_WITHOUT_IT("cuEventSynchronize");
    note("cuEventSynchronize");
    drain();
    return broken() ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS;
}
CALL(cuEventElapsedTime, float *ms, CUevent from, CUevent to) {
    *ms = 1e-6f + ((struct event *)to)->at_ms - ((struct event *)from)->at_ms;
    return CUDA_SUCCESS;
}
CALL(cuLibraryLoadData, CUlibrary *made, const void *code, CUjit_option *o, void **v, unsigned n,
     CUlibraryOption *lo, void **lv, unsigned ln) {
    const Elf64_Ehdr *elf = code;
    NEEDS_CONTEXT;
    note("cuLibraryLoadData CUDA_MODULE_LOADING=%s", eager ? "EAGER" : "LAZY");
    LIVE_WITHOUT_IT("cuLibraryLoadData");
    if (memcmp(elf->e_ident, ELFMAG, SELFMAG) || (elf->e_machine != EM_X86_64 && elf->e_machine != EM_AARCH64)) return CUDA_ERROR_INVALID_IMAGE;
    struct library *library = calloc(1, sizeof *library);
    char path[64];
    library->code = memfd_create("code", 0); /* inherited, like the memory */
    if (write(library->code, code, elf->e_shoff + elf->e_shnum * elf->e_shentsize) < 0) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", library->code);
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library->handle) {
        note("missing here: %s", dlerror());
        return CUDA_ERROR_INVALID_IMAGE;
    }
    *made = (CUlibrary)library;
    return CUDA_SUCCESS;
}
CALL(cuLibraryUnload, CUlibrary old) {
    LIVE_WITHOUT_IT("cuLibraryUnload");
    drain();
    dlclose(((struct library *)old)->handle);
    close(((struct library *)old)->code);
    free(old);
    return CUDA_SUCCESS;
}
CALL(cuLibraryGetKernel, CUkernel *found, CUlibrary library, const char *name) {
    void *code = ((struct library *)library)->handle;
    struct function *f = calloc(1, sizeof *f);
    f->kernel = (kernel_t)symbol(code, name, "");
    if (!f->kernel) return CUDA_ERROR_NOT_FOUND;
    f->sizes = symbol(code, name, "__sizes");
    f->shared = *(int *)symbol(code, name, "__shared");
    f->code = ((struct library *)library)->code;
    snprintf(f->name, sizeof f->name, "%s", name);
    *found = (CUkernel)f;
    return CUDA_SUCCESS;
}
CALL(cuLibraryGetModule, CUmodule *found, CUlibrary library) { *found = (CUmodule)library; return CUDA_SUCCESS; }
CALL(cuKernelGetFunction, CUfunction *found, CUkernel kernel) { *found = (CUfunction)kernel; return CUDA_SUCCESS; }
CALL(cuFuncGetAttribute, int *value, CUfunction_attribute which, CUfunction f) { *value = 100; return CUDA_SUCCESS; }
CALL(cuKernelGetAttribute, int *value, CUfunction_attribute which, CUkernel k, CUdevice d) {
    *value = 100;
    return CUDA_SUCCESS;
}
CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, int *n, CUfunction f, int threads, size_t shared) {
    *n = 2;
    return CUDA_SUCCESS;
}
static CUstream captures; /* the stream whose launches go to a graph instead */
static struct graph { struct launch *launches[4096]; int n; } *graph;

CALL(cuLaunchKernelEx, const CUlaunchConfig *config, CUfunction f, void **parameters, void **extra) {
    int cooperative = 0;
    NEEDS_CONTEXT;
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
            cooperative = config->attrs[i].value.cooperative;
    note("cuLaunchKernelEx grid=%u block=%u cooperative=%d stream=%p", config->gridDimX, config->blockDimX,
         cooperative, (void *)config->hStream);
    if (!config->hStream || (cooperative && !with_the_kernel(config->hStream))) LIVE_WITHOUT_IT("cuLaunchKernelEx");
    struct launch *launch = launch_of(config, (struct function *)f, parameters);
    if (cooperative)
        launch_on_device(launch, config->hStream);
    else if (graph && config->hStream == captures) {
        if (graph->n == 4096) return CUDA_ERROR_NOT_SUPPORTED;
        graph->launches[graph->n++] = launch;
    } else
        enqueue((struct work){.launch = launch});
    return CUDA_SUCCESS;
}
CALL(cuStreamBeginCapture, CUstream stream, CUstreamCaptureMode mode) {
    captures = stream;
    graph = calloc(1, sizeof *graph);
    return CUDA_SUCCESS;
}
CALL(cuStreamEndCapture, CUstream stream, CUgraph *made) {
    *made = (CUgraph)graph;
    graph = NULL;
    return CUDA_SUCCESS;
}
CALL(cuGraphInstantiateWithFlags, CUgraphExec *made, CUgraph captured, unsigned long long flags) {
    *made = (CUgraphExec)captured;
    return CUDA_SUCCESS;
}
CALL(cuGraphInstantiate, CUgraphExec *made, CUgraph captured, unsigned long long flags) {
    return f_cuGraphInstantiateWithFlags(made, captured, flags);
}
CALL(cuGraphLaunch, CUgraphExec made, CUstream stream) {
    struct graph *g = (struct graph *)made;
    for (int i = 0; i < g->n; i++) enqueue((struct work){.launch = g->launches[i], .kept = 1});
    return CUDA_SUCCESS;
}
CALL(cuModuleGetLoadingMode, CUmoduleLoadingMode *mode) {
    *mode = eager ? CU_MODULE_EAGER_LOADING : CU_MODULE_LAZY_LOADING;
    return CUDA_SUCCESS;
}
CALL(cuGetErrorName, CUresult status, const char **name) {
    static const struct { CUresult status; const char *name; } names[] = {
        {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
        {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
        {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
        {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {CUDA_ERROR_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT"},
        {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED"},
    };
    *name = "CUDA_ERROR_UNKNOWN";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].status == status) *name = names[i].name;
    return CUDA_SUCCESS;
}
CALL(cuGetErrorString, CUresult status, const char **text) { return f_cuGetErrorName(status, text); }

static CUresult unknown(void) { note("a function that is missing here"); return CUDA_ERROR_NOT_SUPPORTED; }

#define ENTRY(name) {#name, (void *)f_##name},
static const struct { const char *name; void *function; } functions[] = {LIST(ENTRY)};

#pragma GCC visibility push(default)
CUresult cuGetProcAddress_v2(const char *name, void **found, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *result) {
    *found = (void *)unknown;
    if (!strncmp(name, "cuGetProcAddress", 16)) *found = (void *)cuGetProcAddress_v2;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        size_t n = strlen(functions[i].name);
        if (!strncmp(name, functions[i].name, n) && (name[n] == 0 || !strncmp(name + n, "_v", 2)))
            *found = functions[i].function;
    }
    if (result) *result = CU_GET_PROC_ADDRESS_SUCCESS;
    return CUDA_SUCCESS;
}
CUresult cuGetProcAddress(const char *name, void **found, int version, cuuint64_t flags) {
    return cuGetProcAddress_v2(name, found, version, flags, NULL);
}
#pragma GCC visibility pop

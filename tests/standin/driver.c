/* A stand-in for libcuda.so.1, so that the host side of the CUDA backend runs where there is no GPU.
 *
 * Device memory and pinned memory are pages of one file in /dev/shm, mapped at a fixed address. A cooperative
 * launch starts a process (device.py) that maps the same pages at the same address and runs the kernel's
 * source in Numba's simulator: like a device, it runs beside the host and outlives it. Other launches do
 * nothing. Copies are made at once. Calls that matter are logged, with whether the kernel is alive.
 *
 * What this shows: the calls of numba-cuda, cuda.core and ringnb fit together, in which order they come, and
 * that nothing that would wait for the kernel is called while it lives. What it cannot show: timing, memory
 * ordering, and whatever else is a device's own.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <errno.h>
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

#define BASE ((char *)0x200000000000ul)
#define ARENA (1ul << 30)
#define AT_MOST 1024 /* words of a kernel's arguments */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *arena;
static size_t used;
static const char *pages; /* the file's name */
static pid_t device;
static int device_ended = 1;
static CUstream device_stream;
static CUcontext current;
static long handles = 0x1000;

static int alive(void) {
    int status;
    if (!device_ended) {
        pid_t found = waitpid(device, &status, WNOHANG);
        device_ended = found == device || (found < 0 && errno == ECHILD);
    }
    return !device_ended;
}

static void note(const char *format, ...) {
    FILE *log = fopen(getenv("STANDIN_LOG"), "a");
    va_list arguments;
    va_start(arguments, format);
    fprintf(log, "%s ", alive() ? "live" : "----");
    vfprintf(log, format, arguments);
    fputc('\n', log);
    fclose(log);
    va_end(arguments);
}

static void *take(size_t n) {
    void *made = NULL;
    pthread_mutex_lock(&lock);
    if (!arena) {
        pages = getenv("STANDIN_PAGES");
        int file = open(pages, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (file < 0 || ftruncate(file, ARENA)) abort();
        arena = mmap(BASE, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
        close(file);
        if (arena != BASE) abort();
    }
    n = (n + 4095) / 4096 * 4096;
    if (used + n <= ARENA) {
        made = arena + used;
        used += n;
    }
    pthread_mutex_unlock(&lock);
    return made;
}

static void start_device(void **parameters, CUstream stream) {
    long words[AT_MOST];
    int n = atoi(getenv("STANDIN_WORDS"));
    char name[256];
    for (int i = 0; i < n && i < AT_MOST; i++) words[i] = *(long *)parameters[i];
    snprintf(name, sizeof name, "%s.arguments", pages);
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (write(file, words, n * sizeof *words) < 0) abort();
    close(file);
    device_ended = 0;
    device_stream = stream;
    device = vfork();
    if (device == 0) {
        setsid(); /* no signal to the host's terminal or group reaches a device */
        int log = open(getenv("STANDIN_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(log, 1);
        dup2(log, 2);
        const char *python = getenv("STANDIN_PYTHON"); /* its name is how it finds its packages */
        execl(python, python, getenv("STANDIN_DEVICE"), pages, (char *)NULL);
        _exit(127);
    }
}

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

CALL(cuInit, unsigned flags) { return CUDA_SUCCESS; }
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
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
    case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    default: *value = 1024;
    }
    return CUDA_SUCCESS;
}
CALL(cuDevicePrimaryCtxRetain, CUcontext *made, CUdevice d) { *made = (CUcontext)0x100; return CUDA_SUCCESS; }
CALL(cuDevicePrimaryCtxRelease, CUdevice d) { return CUDA_SUCCESS; }
CALL(cuDevicePrimaryCtxGetState, CUdevice d, unsigned *flags, int *active) {
    *flags = 0;
    *active = current != NULL;
    return CUDA_SUCCESS;
}
CALL(cuCtxGetCurrent, CUcontext *found) { *found = current; return CUDA_SUCCESS; }
CALL(cuCtxSetCurrent, CUcontext chosen) { current = chosen; return CUDA_SUCCESS; }
CALL(cuCtxPushCurrent, CUcontext chosen) { current = chosen; return CUDA_SUCCESS; }
CALL(cuCtxPopCurrent, CUcontext *found) { *found = current; return CUDA_SUCCESS; }
CALL(cuCtxGetDevice, CUdevice *found) { *found = 0; return CUDA_SUCCESS; }
CALL(cuCtxSynchronize, void) { note("cuCtxSynchronize"); return CUDA_SUCCESS; }
CALL(cuCtxGetStreamPriorityRange, int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}
CALL(cuMemGetInfo, size_t *unused, size_t *all) { *unused = ARENA - used; *all = ARENA; return CUDA_SUCCESS; }
CALL(cuMemAlloc, CUdeviceptr *made, size_t n) {
    note("cuMemAlloc %zu", n);
    *made = (CUdeviceptr)take(n);
    return *made ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CALL(cuMemFree, CUdeviceptr old) { note("cuMemFree"); return CUDA_SUCCESS; }
CALL(cuMemHostAlloc, void **made, size_t n, unsigned flags) {
    note("cuMemHostAlloc %zu flags=%u", n, flags);
    *made = take(n);
    return *made ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CALL(cuMemFreeHost, void *old) { note("cuMemFreeHost"); return CUDA_SUCCESS; }
CALL(cuMemHostGetDevicePointer, CUdeviceptr *found, void *host, unsigned flags) {
    *found = (CUdeviceptr)host;
    return CUDA_SUCCESS;
}
static CUresult copied(const char *how, void *target, const void *source, size_t n, CUstream stream) {
    /* Memory that is not pinned is not in the arena; a copy to or from it may wait for the kernel. */
    int pinned = (char *)target >= BASE && (char *)target < BASE + ARENA && (char *)source >= BASE &&
                 (char *)source < BASE + ARENA;
    note("%s stream=%p %s", how, (void *)stream, pinned ? "pinned" : "pageable");
    memcpy(target, source, n);
    return CUDA_SUCCESS;
}
CALL(cuMemcpyHtoD, CUdeviceptr t, const void *s, size_t n) { return copied("cuMemcpyHtoD", (void *)t, s, n, 0); }
CALL(cuMemcpyDtoH, void *t, CUdeviceptr s, size_t n) { return copied("cuMemcpyDtoH", t, (void *)s, n, 0); }
CALL(cuMemcpyDtoD, CUdeviceptr t, CUdeviceptr s, size_t n) {
    return copied("cuMemcpyDtoD", (void *)t, (void *)s, n, 0);
}
CALL(cuMemcpyHtoDAsync, CUdeviceptr t, const void *s, size_t n, CUstream stream) {
    return copied("cuMemcpyHtoDAsync", (void *)t, s, n, stream);
}
CALL(cuMemcpyDtoHAsync, void *t, CUdeviceptr s, size_t n, CUstream stream) {
    return copied("cuMemcpyDtoHAsync", t, (void *)s, n, stream);
}
CALL(cuMemcpyDtoDAsync, CUdeviceptr t, CUdeviceptr s, size_t n, CUstream stream) {
    return copied("cuMemcpyDtoDAsync", (void *)t, (void *)s, n, stream);
}
CALL(cuStreamCreateWithPriority, CUstream *made, unsigned flags, int priority) {
    NEXT(made);
    note("cuStreamCreate %p flags=%u", (void *)*made, flags);
    return CUDA_SUCCESS;
}
CALL(cuStreamCreate, CUstream *made, unsigned flags) { return f_cuStreamCreateWithPriority(made, flags, 0); }
CALL(cuStreamDestroy, CUstream old) { note("cuStreamDestroy"); return CUDA_SUCCESS; }
CALL(cuStreamSynchronize, CUstream stream) { note("cuStreamSynchronize"); return CUDA_SUCCESS; }
CALL(cuStreamGetCtx, CUstream stream, CUcontext *found) { *found = current; return CUDA_SUCCESS; }
CALL(cuStreamGetFlags, CUstream stream, unsigned *flags) { *flags = 1; return CUDA_SUCCESS; }
CALL(cuStreamWaitEvent, CUstream stream, CUevent event, unsigned flags) { return CUDA_SUCCESS; }
struct event { double at_ms; int behind_the_kernel; };
CALL(cuEventCreate, CUevent *made, unsigned flags) {
    *made = (CUevent)calloc(1, sizeof(struct event));
    return CUDA_SUCCESS;
}
CALL(cuEventDestroy, CUevent old) { return CUDA_SUCCESS; }
CALL(cuEventRecord, CUevent event, CUstream stream) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ((struct event *)event)->at_ms = now.tv_sec * 1e3 + now.tv_nsec / 1e6;
    ((struct event *)event)->behind_the_kernel = device && stream == device_stream;
    note("cuEventRecord stream=%p", (void *)stream);
    return CUDA_SUCCESS;
}
CALL(cuEventQuery, CUevent event) {
    return ((struct event *)event)->behind_the_kernel && alive() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
CALL(cuEventSynchronize, CUevent event) { note("cuEventSynchronize"); return CUDA_SUCCESS; }
CALL(cuEventElapsedTime, float *ms, CUevent from, CUevent to) {
    *ms = 1e-6f + ((struct event *)to)->at_ms - ((struct event *)from)->at_ms;
    return CUDA_SUCCESS;
}
CALL(cuLibraryLoadData, CUlibrary *made, const void *code, CUjit_option *o, void **v, unsigned n,
     CUlibraryOption *lo, void **lv, unsigned ln) {
    note("cuLibraryLoadData CUDA_MODULE_LOADING=%s", getenv("CUDA_MODULE_LOADING"));
    return NEXT(made);
}
CALL(cuLibraryUnload, CUlibrary old) { note("cuLibraryUnload"); return CUDA_SUCCESS; }
CALL(cuLibraryGetKernel, CUkernel *found, CUlibrary library, const char *name) { return NEXT(found); }
CALL(cuLibraryGetModule, CUmodule *found, CUlibrary library) { return NEXT(found); }
CALL(cuKernelGetFunction, CUfunction *found, CUkernel kernel) { return NEXT(found); }
CALL(cuFuncGetAttribute, int *value, CUfunction_attribute which, CUfunction f) { *value = 100; return CUDA_SUCCESS; }
CALL(cuKernelGetAttribute, int *value, CUfunction_attribute which, CUkernel k, CUdevice d) {
    *value = 100;
    return CUDA_SUCCESS;
}
CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, int *n, CUfunction f, int threads, size_t shared) {
    *n = 2;
    return CUDA_SUCCESS;
}
CALL(cuLaunchKernelEx, const CUlaunchConfig *config, CUfunction f, void **parameters, void **extra) {
    int cooperative = 0;
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
            cooperative = config->attrs[i].value.cooperative;
    note("cuLaunchKernelEx grid=%u block=%u cooperative=%d stream=%p", config->gridDimX, config->blockDimX,
         cooperative, (void *)config->hStream);
    if (cooperative) start_device(parameters, config->hStream);
    return CUDA_SUCCESS;
}
CALL(cuStreamBeginCapture, CUstream stream, CUstreamCaptureMode mode) {
    note("cuStreamBeginCapture mode=%d", mode);
    return CUDA_SUCCESS;
}
CALL(cuStreamEndCapture, CUstream stream, CUgraph *made) { note("cuStreamEndCapture"); return NEXT(made); }
CALL(cuGraphInstantiateWithFlags, CUgraphExec *made, CUgraph graph, unsigned long long flags) {
    note("cuGraphInstantiate");
    return NEXT(made);
}
CALL(cuGraphInstantiate, CUgraphExec *made, CUgraph graph, unsigned long long flags) {
    return f_cuGraphInstantiateWithFlags(made, graph, flags);
}
CALL(cuGraphLaunch, CUgraphExec graph, CUstream stream) { note("cuGraphLaunch"); return CUDA_SUCCESS; }
CALL(cuModuleGetLoadingMode, CUmoduleLoadingMode *mode) {
    const char *asked = getenv("CUDA_MODULE_LOADING");
    *mode = asked && !strcmp(asked, "EAGER") ? CU_MODULE_EAGER_LOADING : CU_MODULE_LAZY_LOADING;
    return CUDA_SUCCESS;
}
CALL(cuGetErrorName, CUresult status, const char **name) { *name = "CUDA_ERROR_STANDIN"; return CUDA_SUCCESS; }
CALL(cuGetErrorString, CUresult status, const char **text) { *text = "of the stand-in"; return CUDA_SUCCESS; }

static CUresult unknown(void) { note("a function that is missing here"); return CUDA_ERROR_NOT_SUPPORTED; }

#define ENTRY(name) {#name, (void *)f_##name},
static const struct { const char *name; void *function; } functions[] = {LIST(ENTRY)};

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

/* A CUDA driver without a device: it accepts what our launcher calls and writes down what it got.
 *
 * Compiled as libcuda.so.1 and found before any other through LD_LIBRARY_PATH. Each call becomes one
 * line of JSON in the file named by FAKE_CUDA_LOG. A launch is recorded with its arguments, read
 * from memory as the real driver would read them: `fake_parameters` says what a kernel takes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char name[256];
    char parameters[64]; /* p address, i int32, l int64, f float32 */
} kernel;

static kernel kernels[64];
static int num_kernels, failure, is_quiet;
static void *current = NULL; /* the context of the only thread that calls */
static void *const PRIMARY = (void *)0x1000;

static FILE *record(void) {
    static FILE *log;
    if (!log) log = fopen(getenv("FAKE_CUDA_LOG") ? getenv("FAKE_CUDA_LOG") : "/dev/null", "w");
    return log;
}

static int note(const char *call) {
    if (is_quiet) return 0;
    fprintf(record(), "{\"call\": \"%s\"}\n", call);
    return fflush(record());
}

static kernel *kernel_named(const char *name) {
    for (int i = 0; i < num_kernels; i++)
        if (!strcmp(kernels[i].name, name)) return &kernels[i];
    snprintf(kernels[num_kernels].name, sizeof kernels[0].name, "%s", name);
    return &kernels[num_kernels++];
}

/* For the tests, not of the driver. */
void fake_parameters(const char *name, const char *codes) {
    snprintf(kernel_named(name)->parameters, sizeof kernels[0].parameters, "%s", codes);
}
void fake_failure(int status) { failure = status; }
void fake_quiet(int quiet) { is_quiet = quiet; }

int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    return *value = attribute == 75 ? 9 : 0, 0; /* compute capability 9.0 */
}
int cuGetErrorString(int error, const char **text) { return *text = "as the test asked", 0; }

int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = PRIMARY, 0; }
int cuCtxPushCurrent_v2(void *context) { return current = context, note("cuCtxPushCurrent"); }
int cuCtxPopCurrent_v2(void **context) {
    *context = current;
    current = NULL;
    return note("cuCtxPopCurrent");
}
int cuCtxSetCurrent(void *context) { return current = context, note("cuCtxSetCurrent"); }

int cuLibraryLoadData(void **library, const void *code, void *a, void *b, unsigned c, void *d,
                      void *e, unsigned f) {
    *library = (void *)0x2000;
    if (memcmp(code, "\177ELF", 4)) return 200; /* invalid image: only machine code is accepted */
    return note("cuLibraryLoadData");
}
int cuLibraryGetKernel(void **handle, void *library, const char *name) {
    return *handle = kernel_named(name), note("cuLibraryGetKernel");
}
int cuKernelSetAttribute(int attribute, int value, void *handle, int device) {
    fprintf(record(), "{\"call\": \"cuKernelSetAttribute\", \"kernel\": \"%s\", \"attribute\": %d, \"value\": %d}\n",
            ((kernel *)handle)->name, attribute, value);
    return fflush(record());
}
int cuKernelGetFunction(void **function, void *handle) {
    return *function = handle, note("cuKernelGetFunction");
}
int cuFuncLoad(void *function) { return current ? note("cuFuncLoad") : 201; }

static void write_argument(char code, const void *address) {
    FILE *log = record();
    int64_t wide = 0;
    int32_t narrow = 0;
    float number = 0;
    if (code == 'i') {
        memcpy(&narrow, address, 4);
        fprintf(log, "%d", narrow);
    } else if (code == 'f') {
        memcpy(&number, address, 4);
        fprintf(log, "%.9g", number);
    } else {
        memcpy(&wide, address, 8);
        fprintf(log, "%lld", (long long)wide);
    }
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **arguments, void **extra) {
    const kernel *called = function;
    const int status = failure;
    failure = 0;
    if (is_quiet) return status;
    fprintf(record(),
            "{\"call\": \"cuLaunchKernel\", \"kernel\": \"%s\", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], "
            "\"shared\": %u, \"stream\": %lld, \"status\": %d, \"arguments\": [",
            called->name, gx, gy, gz, bx, by, bz, shared, (long long)(intptr_t)stream, status);
    for (const char *code = called->parameters; *code; code++) {
        if (code != called->parameters) fputs(", ", record());
        write_argument(*code, arguments[code - called->parameters]);
    }
    fputs("]}\n", record());
    fflush(record());
    return status;
}

/* How cuda-bindings finds the functions; what is not above is not there. */
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *found) {
    static void *self;
    char second[128];
    Dl_info info;
    if (!self && dladdr((void *)cuInit, &info)) self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    snprintf(second, sizeof second, "%s_v2", name);
    *function = dlsym(self, second);
    if (!*function) *function = dlsym(self, name);
    if (found) *found = *function ? 0 : 1;
    return *function ? 0 : 500;
}
int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}

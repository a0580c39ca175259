/* A scripted libnvidia-ml.so.1: drives the real nvidia-ml-py through every state a GPU can be in, without a GPU.
 *
 * The script is the text file that FAKE_NVML names, read again at each nvmlInit. Lines are `key = value`:
 *
 *   count = 2                          two healthy A40s; every value below has such a default
 *   power = 90000 250000               values of successive calls, the last one stays
 *   energy = ramp 1000 300000          1000 at nvmlInit, growing by 300000 a second
 *   1.name = NVIDIA H200               only GPU 1
 *   used = none                        NOT_SUPPORTED
 *   processes = 4711:1073741824 4712:- pid:bytes, `-` = bytes not available
 *   nvmlDeviceGetPowerUsage = rc 15 after 3      return code 15 from the fourth call on
 *   1.nvmlDeviceGetMemoryInfo = hang 30 after 0  sleep 30 s, on GPU 1 only
 *   nvmlInitWithFlags = segv                     die by SIGSEGV
 *
 * Struct layouts follow nvidia-ml-py's, which is what the tests call this through. Missing functions are made by the
 * linker (see tests/fakes/nvml.py), not here.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10 };
enum { LINES = 256, WIDTH = 512, MIB = 1024 * 1024 };

static struct { char key[WIDTH], value[WIDTH]; int calls; } script[LINES];
static int lines;
static double started;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void load(void) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[2 * WIDTH];
    lines = 0;
    started = now();
    while (file && lines < LINES && fgets(line, sizeof line, file))
        if (sscanf(line, " %511[^= ] = %511[^\n]", script[lines].key, script[lines].value) == 2)
            script[lines++].calls = 0;
    if (file) fclose(file);
}

/* The line for `key` on this GPU, else the line for every GPU, else -1. */
static int find(int gpu, const char *key) {
    char own[WIDTH];
    snprintf(own, sizeof own, "%d.%s", gpu, key);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < lines; i++)
            if (!strcmp(script[i].key, pass ? key : own)) return i;
    return -1;
}

/* What the script wants of a function: a return code, or to hang, or to die. */
static int obey(const char *function, int gpu) {
    int i = find(gpu, function), after = 0;
    double argument = 0;
    char verb[16] = "";
    if (i < 0) return OK;
    sscanf(script[i].value, "%15s %lf after %d", verb, &argument, &after);
    if (script[i].calls++ < after) return OK;
    if (!strcmp(verb, "segv")) raise(SIGSEGV);
    if (!strcmp(verb, "hang")) usleep((useconds_t)(argument * 1e6));
    return strcmp(verb, "rc") ? OK : (int)argument;
}

/* The value of this call, into `out`; NOT_SUPPORTED where the script says none. */
static int number(int gpu, const char *key, double fallback, double *out) {
    int i = find(gpu, key), call;
    double base, rate;
    char *next, text[WIDTH];
    *out = fallback;
    if (i < 0) return OK;
    if (!strncmp(script[i].value, "none", 4)) return NOT_SUPPORTED;
    if (sscanf(script[i].value, "ramp %lf %lf", &base, &rate) == 2) {
        *out = base + rate * (now() - started);
        return OK;
    }
    strcpy(text, script[i].value);
    call = script[i].calls++;
    for (char *word = strtok_r(text, " ", &next); word && call >= 0; word = strtok_r(NULL, " ", &next), call--)
        *out = strtod(word, NULL);
    return OK;
}

static void string(int gpu, const char *key, const char *fallback, char *out, unsigned size) {
    int i = find(gpu, key);
    snprintf(out, size, "%s", i < 0 ? fallback : script[i].value);
}

/* Handles are the index plus one, so that none is NULL. */
typedef size_t Device;
static int index_of(Device device) { return (int)device - 1; }

#define OBEY(gpu) do { int rc_ = obey(__func__, gpu); if (rc_) return rc_; } while (0)
#define VALUE(gpu, key, fallback, type, out) \
    do { double v_; int rc_ = number(gpu, key, fallback, &v_); if (rc_) return rc_; *(out) = (type)v_; } while (0)
#define GETTER(function, type, key, fallback) \
    int function(Device d, type *out) { OBEY(index_of(d)); VALUE(index_of(d), key, fallback, type, out); return OK; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; load(); OBEY(0); return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "scripted error"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { OBEY(0); string(0, "driver", "580.95.05", out, size); return OK; }
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { OBEY(0); string(0, "nvml", "13.580.95.05", out, size); return OK; }
int nvmlSystemGetCudaDriverVersion(int *out) { OBEY(0); VALUE(0, "cuda", 13000, int, out); return OK; }
int nvmlDeviceGetCount_v2(unsigned *out) { OBEY(0); VALUE(0, "count", 2, unsigned, out); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *out) { OBEY((int)index); *out = index + 1; return OK; }

int nvmlDeviceGetName(Device d, char *out, unsigned size) {
    OBEY(index_of(d));
    string(index_of(d), "name", "NVIDIA A40", out, size);
    return OK;
}

int nvmlDeviceGetUUID(Device d, char *out, unsigned size) {
    char uuid[64];
    OBEY(index_of(d));
    snprintf(uuid, sizeof uuid, "GPU-0000000%d-aaaa-bbbb-cccc-dddddddddddd", index_of(d));
    string(index_of(d), "uuid", uuid, out, size);
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device *out) {
    double count;
    char own[96];
    OBEY(0);
    number(0, "count", 2, &count);
    for (Device d = 1; d <= (Device)count; d++)
        if (nvmlDeviceGetUUID(d, own, sizeof own) == OK && !strcmp(own, uuid)) { *out = d; return OK; }
    return NOT_FOUND;
}

typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
int nvmlDeviceGetPciInfo_v3(Device d, Pci *out) {
    OBEY(index_of(d));
    memset(out, 0, sizeof *out);
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", index_of(d) + 0x17);
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(Device d, int *major, int *minor) {
    OBEY(index_of(d));
    VALUE(index_of(d), "capability_major", 8, int, major);
    VALUE(index_of(d), "capability_minor", 6, int, minor);
    return OK;
}

GETTER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, "power_default", 300000)
GETTER(nvmlDeviceGetEnforcedPowerLimit, unsigned, "power_limit", 300000)
GETTER(nvmlDeviceGetPowerUsage, unsigned, "power", 90000)
GETTER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, "energy", 1e6)
GETTER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, "pcie_gen_max", 4)
GETTER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, "pcie_width_max", 16)
GETTER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, "pcie_gen", 4)
GETTER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, "pcie_width", 16)
GETTER(nvmlDeviceGetPcieReplayCounter, unsigned, "pcie_replays", 0)
GETTER(nvmlDeviceGetPersistenceMode, unsigned, "persistence", 1)
GETTER(nvmlDeviceGetComputeMode, unsigned, "compute_mode", 0)
GETTER(nvmlDeviceGetRetiredPagesPendingStatus, unsigned, "retirement_pending", 0)
GETTER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, "throttle", 0)
GETTER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, "throttle", 0)

int nvmlDeviceGetClockInfo(Device d, unsigned type, unsigned *out) {
    OBEY(index_of(d));
    VALUE(index_of(d), type == 2 ? "memory_clock" : "sm_clock", type == 2 ? 7251 : 1740, unsigned, out);
    return OK;
}

int nvmlDeviceGetMaxClockInfo(Device d, unsigned type, unsigned *out) {
    OBEY(index_of(d));
    VALUE(index_of(d), type == 2 ? "memory_clock_max" : "sm_clock_max", type == 2 ? 7251 : 1740, unsigned, out);
    return OK;
}

int nvmlDeviceGetTemperature(Device d, unsigned sensor, unsigned *out) {
    (void)sensor;
    OBEY(index_of(d));
    VALUE(index_of(d), "temperature", 45, unsigned, out);
    return OK;
}

typedef struct { unsigned gpu, memory; } Utilization;
int nvmlDeviceGetUtilizationRates(Device d, Utilization *out) {
    OBEY(index_of(d));
    VALUE(index_of(d), "utilisation", 0, unsigned, &out->gpu);
    VALUE(index_of(d), "memory_utilisation", 0, unsigned, &out->memory);
    return OK;
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
int nvmlDeviceGetMemoryInfo_v2(Device d, Memory2 *out) {
    OBEY(index_of(d));
    VALUE(index_of(d), "memory", 46068.0 * MIB, unsigned long long, &out->total);
    VALUE(index_of(d), "reserved", 600.0 * MIB, unsigned long long, &out->reserved);
    VALUE(index_of(d), "used", 0, unsigned long long, &out->used);
    out->free = out->total - out->used - out->reserved;
    return OK;
}

typedef struct { unsigned long long total, free, used; } Memory1;
int nvmlDeviceGetMemoryInfo(Device d, Memory1 *out) {
    OBEY(index_of(d));
    VALUE(index_of(d), "memory", 46068.0 * MIB, unsigned long long, &out->total);
    VALUE(index_of(d), "used", 0, unsigned long long, &out->used);
    out->free = out->total - out->used;
    return OK;
}

typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;
int nvmlDeviceGetComputeRunningProcesses_v3(Device d, unsigned *count, Process *out) {
    int i = find(index_of(d), "processes");
    unsigned room = *count, n = 0;
    char text[WIDTH] = "", *next;
    if (!out) OBEY(index_of(d)); /* one question is two calls: the first asks for the size */
    if (i >= 0) strcpy(text, script[i].value);
    for (char *word = strtok_r(text, " ", &next); word; word = strtok_r(NULL, " ", &next), n++) {
        char *bytes = strchr(word, ':');
        if (!out || n >= room) continue;
        out[n].pid = (unsigned)atoi(word);
        out[n].used = bytes && bytes[1] != '-' ? strtoull(bytes + 1, NULL, 10) : ~0ULL;
    }
    *count = n;
    return n > room || (!out && n) ? INSUFFICIENT_SIZE : OK;
}

int nvmlDeviceGetMigMode(Device d, unsigned *current, unsigned *pending) {
    OBEY(index_of(d));
    VALUE(index_of(d), "mig", 0, unsigned, current);
    *pending = *current;
    return OK;
}

int nvmlDeviceGetEccMode(Device d, unsigned *current, unsigned *pending) {
    OBEY(index_of(d));
    VALUE(index_of(d), "ecc", 1, unsigned, current);
    *pending = *current;
    return OK;
}

int nvmlDeviceGetTotalEccErrors(Device d, unsigned type, unsigned counter, unsigned long long *out) {
    (void)counter;
    OBEY(index_of(d));
    VALUE(index_of(d), type ? "ecc_uncorrected" : "ecc_corrected", 0, unsigned long long, out);
    return OK;
}

int nvmlDeviceGetRemappedRows(Device d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    OBEY(index_of(d));
    VALUE(index_of(d), "remapped", 0, unsigned, uncorrected);
    VALUE(index_of(d), "remap_pending", 0, unsigned, pending);
    VALUE(index_of(d), "remap_failed", 0, unsigned, failed);
    *corrected = 0;
    return OK;
}

int nvmlDeviceGetRetiredPages(Device d, unsigned cause, unsigned *count, unsigned long long *pages) {
    OBEY(index_of(d));
    VALUE(index_of(d), cause ? "retired_double" : "retired_single", 0, unsigned, count);
    for (unsigned i = 0; pages && i < *count; i++) pages[i] = i;
    return OK;
}

typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    int type, rc;
    union { double d; unsigned u; unsigned long long ull; } value;
} Field;
int nvmlDeviceGetFieldValues(Device d, int count, Field *fields) {
    static const struct { unsigned id; const char *key; double fallback; int type; } known[] = {
        {83, "energy", 1e6, 3}, {186, "power", 90000, 1}, {197, "pcie_tx", 0, 3}, {198, "pcie_rx", 0, 3}, {230, "recovery", 0, 1},
    };
    OBEY(index_of(d));
    for (int i = 0; i < count; i++) {
        fields[i].rc = NOT_SUPPORTED;
        for (unsigned k = 0; k < sizeof known / sizeof *known; k++) {
            double value;
            if (known[k].id != fields[i].field) continue;
            fields[i].rc = number(index_of(d), known[k].key, known[k].fallback, &value);
            fields[i].type = known[k].type;
            if (known[k].type == 1) fields[i].value.u = (unsigned)value;
            else fields[i].value.ull = (unsigned long long)value;
        }
    }
    return OK;
}

typedef struct { Device device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } Event;
int nvmlEventSetCreate(size_t *out) { OBEY(0); *out = 1; return OK; }
int nvmlEventSetFree(size_t set) { (void)set; return OK; }
int nvmlDeviceRegisterEvents(Device d, unsigned long long types, size_t set) {
    (void)types; (void)set;
    OBEY(index_of(d));
    return OK;
}
int nvmlEventSetWait_v2(size_t set, Event *out, unsigned timeout_ms) {
    double xid;
    (void)set; (void)timeout_ms;
    OBEY(0);
    if (find(0, "xid") < 0) return TIMEOUT;
    number(0, "xid", 0, &xid);
    if (!xid) return TIMEOUT;
    memset(out, 0, sizeof *out);
    out->device = 1;
    out->type = 8;
    out->data = (unsigned long long)xid;
    return OK;
}

typedef struct { unsigned id; int rc; double value; char *names[3]; } GpmMetric;
typedef struct { unsigned version, count; size_t first, second; GpmMetric metrics[]; } GpmRequest;
typedef struct { unsigned version, supported; } GpmSupport;
int nvmlGpmQueryDeviceSupport(Device d, GpmSupport *out) {
    OBEY(index_of(d));
    VALUE(index_of(d), "gpm", 0, unsigned, &out->supported);
    return OK;
}
int nvmlGpmSampleAlloc(size_t *out) { OBEY(0); *out = 1; return OK; }
int nvmlGpmSampleFree(size_t sample) { (void)sample; return OK; }
int nvmlGpmSampleGet(Device d, size_t sample) { (void)sample; OBEY(index_of(d)); return OK; }
int nvmlGpmMetricsGet(GpmRequest *request) {
    OBEY(0);
    for (unsigned i = 0; i < request->count; i++) {
        char key[16];
        snprintf(key, sizeof key, "gpm%u", request->metrics[i].id);
        request->metrics[i].rc = number(0, key, 0, &request->metrics[i].value);
    }
    return OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/accel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#include "base/clock.h"
#include "base/own.h"
#include "base/str.h"
#include "vmm/vmm.h"

#define CPUINFO_MAX 16384u

int cpuinfo_read(char **ret)
{
	AUTO_CLOSE int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *text = calloc(1, CPUINFO_MAX + 1);
	if (!text)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	/* read only the first processor's part: some kernels take a while for each processor */
	size_t len = 0;
	while (len < CPUINFO_MAX && !strstr(text, "\n\n")) {
		ssize_t n = read(fd, text + len, CPUINFO_MAX - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	char *end = strstr(text, "\n\n");
	if (end)
		end[1] = '\0';
	*ret = TAKE_PTR(text);
	return 0;
}

/* The value of "key\t: value"; "?" when absent. */
static const char *field(const char *cpuinfo, const char *key, size_t *ret_len)
{
	size_t key_len = strlen(key);
	for (const char *line = cpuinfo; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, key_len) != 0)
			continue;
		const char *p = line + key_len + strspn(line + key_len, "\t ");
		if (*p != ':')
			continue;
		p++;
		p += *p == ' ';
		*ret_len = strcspn(p, "\n");
		return p;
	}
	*ret_len = 1;
	return "?";
}

bool cpuinfo_has_flag(const char *cpuinfo, const char *flag)
{
	size_t len, flag_len = strlen(flag);
	const char *p = field(cpuinfo, "flags", &len), *end = p + len;
	while (p < end) {
		size_t word = strcspn(p, " \n");
		if (word == flag_len && memcmp(p, flag, word) == 0)
			return true;
		p += word + 1;
	}
	return false;
}

/* FNV-1a: tells lists of flags apart; nobody gains by forging one. */
static uint64_t hash(const char *p, size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)p[i]) * UINT64_C(0x100000001b3);
	return h;
}

int cpuinfo_fingerprint(const char *cpuinfo, char **ret)
{
	static const struct {
		const char *before, *key;
	} parts[] = {
		{ "", "vendor_id" }, { " ", "cpu family" },	     { "-", "model" },
		{ "-", "stepping" }, { " microcode ", "microcode" },
	};
	AUTO_DONE(strbuf) text = { 0 };
	size_t len;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(parts); i++) {
		const char *value = field(cpuinfo, parts[i].key, &len);
		strbuf_addf(&text, "%s%.*s", parts[i].before, (int)len, value);
	}
	const char *flags = field(cpuinfo, "flags", &len);
	strbuf_addf(&text, " flags %016llx", (unsigned long long)hash(flags, len));
	char *line = text.failed ? NULL : strbuf_take(&text);
	if (!line)
		return -ENOMEM;
	*ret = line;
	return 0;
}

enum vmm_accel vmm_accel_choose(const char **ret_reason)
{
	const char *wish = getenv("MVM_ACCEL");
	bool wants_kvm = str_eq(wish, "kvm");
	if (wants_kvm || str_eq(wish, "tcg")) {
		*ret_reason = "MVM_ACCEL says so";
		return wants_kvm ? VMM_ACCEL_KVM : VMM_ACCEL_TCG;
	}
	AUTO_CLOSE int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		*ret_reason = errno == ENOENT ? "there is no /dev/kvm"
					      : "/dev/kvm cannot be opened for reading and writing";
		return VMM_ACCEL_TCG;
	}
	/* a paravirtual KVM opens too, but only emulates the guest's instructions */
	AUTO_FREE char *cpuinfo = NULL;
	if (cpuinfo_read(&cpuinfo) < 0) {
		*ret_reason = "/proc/cpuinfo cannot be read";
		return VMM_ACCEL_TCG;
	}
	if (!cpuinfo_has_flag(cpuinfo, "vmx") && !cpuinfo_has_flag(cpuinfo, "svm")) {
		*ret_reason = "/dev/kvm opens, but the CPU has neither vmx nor svm";
		return VMM_ACCEL_TCG;
	}
	*ret_reason = "KVM is usable";
	return VMM_ACCEL_KVM;
}

const char *vmm_accel_name(enum vmm_accel accel)
{
	return accel == VMM_ACCEL_KVM ? "kvm" : "tcg";
}

#if defined(__x86_64__)
static uint64_t tsc_khz_from_cpuid(void)
{
	unsigned den, num, crystal_hz, edx, base_mhz, ebx, ecx;
	if (!__get_cpuid(0x15, &den, &num, &crystal_hz, &edx) || !den || !num)
		return 0;
	if (crystal_hz)
		return (uint64_t)crystal_hz * num / den / 1000;
	if (__get_cpuid(0x16, &base_mhz, &ebx, &ecx, &edx))
		return (uint64_t)(base_mhz & 0xffff) * 1000; /* the ratio is to this clock then */
	return 0;
}

struct instant {
	uint64_t tsc;
	int64_t ns;
};

/* Both clocks at one moment: the closest of a few tries. */
static struct instant read_both(void)
{
	struct instant best = { 0 };
	uint64_t best_gap = UINT64_MAX;
	for (int i = 0; i < 16; i++) {
		struct timespec ts;
		uint64_t before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC_RAW, &ts); /* cannot fail */
		uint64_t after = __rdtsc();
		if (after - before >= best_gap)
			continue;
		best_gap = after - before;
		best.tsc = before + best_gap / 2;
		best.ns = (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
	}
	return best;
}

static uint64_t tsc_khz_measured(void)
{
	struct instant from = read_both(), to;
	do
		to = read_both();
	while (to.ns - from.ns < 50 * NS_PER_MS);
	uint64_t khz = (to.tsc - from.tsc) * UINT64_C(1000000) / (uint64_t)(to.ns - from.ns);
	return (khz + 50) / 100 * 100;
}

int tsc_khz_find(uint32_t *ret)
{
	uint64_t khz = tsc_khz_from_cpuid();
	if (khz == 0)
		khz = tsc_khz_measured();
	*ret = (uint32_t)khz;
	return 0;
}
#else
int tsc_khz_find(uint32_t *ret)
{
	(void)ret;
	return -EOPNOTSUPP;
}
#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci_cpu.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/str.h"

#define CPUINFO_MAX ((size_t)16 << 20) /* a host with thousands of CPUs */
#define TCG_LEVEL   3u

static bool has_flag(const char *flags, const char *flag)
{
	size_t len = strlen(flag);

	for (const char *at = flags; (at = strstr(at, flag)); at += len) {
		if ((at == flags || strchr(" \t", at[-1])) && (!at[len] || strchr(" \n", at[len])))
			return true;
	}
	return false;
}

unsigned oci_cpu_level(const char *flags)
{
	/* the names that Linux uses: pni is SSE3, abm includes LZCNT */
	static const char *const v2[] = { "cx16",  "lahf_lm", "popcnt", "pni",
					  "ssse3", "sse4_1",  "sse4_2", NULL };
	static const char *const v3[] = { "avx", "avx2", "bmi1",  "bmi2",  "f16c",
					  "fma", "abm",	 "movbe", "xsave", NULL };
	static const char *const v4[] = { "avx512f",  "avx512bw", "avx512cd",
					  "avx512dq", "avx512vl", NULL };
	static const char *const *const levels[] = { v2, v3, v4 };

	for (unsigned i = 0; i < MVM_ARRAY_SIZE(levels); i++) {
		for (const char *const *flag = levels[i]; *flag; flag++) {
			if (!has_flag(flags, *flag))
				return i + 1;
		}
	}
	return MVM_ARRAY_SIZE(levels) + 1;
}

unsigned oci_guest_level(void)
{
	AUTO_FREE char *text = NULL;

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return TCG_LEVEL;
	if (file_read_at(AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &text, NULL) < 0)
		return 1; /* level 1 runs everywhere */
	char *flags = strstr(text, "\nflags");
	if (!flags)
		return 1;
	flags += 1;
	flags[strcspn(flags, "\n")] = '\0';
	return oci_cpu_level(flags);
}

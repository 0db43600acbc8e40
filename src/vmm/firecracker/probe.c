/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/accel.h"
#include "vmm/ask.h"
#include "vmm/firecracker/firecracker.h"

#define ASK_TIMEOUT_MS 30000
#define OLDEST_MAJOR   1u /* Diff snapshots without dirty tracking */
#define OLDEST_MINOR   13u

/* Digits and dots, then perhaps a suffix such as "-dev", up to the end of the line. */
static const char *version_after(const char *text, const char *before, size_t *ret_len)
{
	if (!str_starts(text, before))
		return NULL;
	const char *version = text + strlen(before);
	*ret_len = strcspn(version, " \r\n");
	return *version >= '0' && *version <= '9' ? version : NULL;
}

const char *fc_version_of(const char *text, size_t *ret_len)
{
	return version_after(text, "Firecracker v", ret_len);
}

const char *fc_format_of(const char *text, size_t *ret_len)
{
	return version_after(text, "v", ret_len);
}

static void read_version(const char *version, unsigned *ret_major, unsigned *ret_minor)
{
	char *end = NULL;
	unsigned long major = strtoul(version, &end, 10);
	unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
	*ret_major = major < 1000 ? (unsigned)major : 1000;
	*ret_minor = minor < 1000 ? (unsigned)minor : 1000;
}

bool fc_version_at_least(const char *version, unsigned major, unsigned minor)
{
	unsigned has_major, has_minor;
	read_version(version, &has_major, &has_minor);
	return has_major > major || (has_major == major && has_minor >= minor);
}

bool fc_pause_breaks_vsock(const char *version)
{
	return fc_version_at_least(version, 1, 16) && !fc_version_at_least(version, 1, 17);
}

/* Ask the program for one of its versions.  Returns 0 with a copy of it, or with the reason why
 * there is none in p->reason; or -ENOMEM or -ECANCELED. */
static int ask(struct vmm_probe *p, char *question, const struct mvm_progress *progress,
	       const char *(*find)(const char *text, size_t *ret_len), char **ret)
{
	char text[ASK_TEXT_MAX];
	size_t len = 0;
	char *const argv[] = { p->binary, question, NULL };
	int r = program_ask(argv, AT_FDCWD, clock_deadline_ns(ASK_TIMEOUT_MS), progress, text);
	if (r == -ECANCELED)
		return r;
	const char *found = r < 0 ? NULL : find(text, &len);
	if (found) {
		*ret = strndup(found, len);
		return *ret ? 0 : -ENOMEM;
	}
	p->reason = r < 0 ? str_printf("'%s %s' failed: %s", p->binary, question, strerror(-r))
			  : str_printf("'%s' is no Firecracker: %s says '%.*s'", p->binary,
				       question, (int)strcspn(text, "\n"), text);
	return p->reason ? 0 : -ENOMEM;
}

static int fill_versions(struct vmm_probe *p, const struct mvm_progress *progress)
{
	int r = ask(p, (char[]){ "--version" }, progress, fc_version_of, &p->version);
	if (r < 0 || p->reason)
		return r;
	if (!fc_version_at_least(p->version, OLDEST_MAJOR, OLDEST_MINOR)) {
		p->reason = str_printf("Firecracker %s is too old: %u.%u or newer is needed",
				       p->version, OLDEST_MAJOR, OLDEST_MINOR);
		return p->reason ? 0 : -ENOMEM;
	}
	r = ask(p, (char[]){ "--snapshot-version" }, progress, fc_format_of, &p->state_format);
	p->usable = r == 0 && !p->reason;
	return r;
}

/* Find out why Firecracker cannot be used, without starting it.  Returns 1 when nothing is wrong, 0
 * with p->reason, or -ENOMEM. */
static int find_obstacle(struct vmm_probe *p)
{
	const char *named = getenv(FC_BINARY_ENV);
	int r = vmm_backend_binary(&vmm_firecracker, &p->binary);
	if (r == -ENOMEM)
		return r;
	if (r < 0 && !str_empty(named))
		p->reason = str_printf(FC_BINARY_ENV " names '%s': %s", named, strerror(-r));
	else if (p->accel != VMM_ACCEL_KVM) /* before the program: it would not help */
		p->reason = str_printf("Firecracker needs KVM: %s; the backend qemu does not",
				       p->accel_reason);
	else if (r < 0)
		p->reason = strdup("there is no " FC_BINARY " on PATH, and " FC_BINARY_ENV
				   " names none");
	else if (tsc_khz_find(&p->tsc_khz) < 0)
		p->reason = strdup("this host's CPU is not x86_64");
	else
		return 1;
	return p->reason ? 0 : -ENOMEM;
}

int fc_probe(const struct mvm_progress *progress, struct vmm_probe *ret, struct mvm_error *err)
{
	AUTO_DONE(vmm_probe) p = { 0 };
	const char *accel_reason = NULL;
	p.accel = vmm_accel_choose(&accel_reason);
	p.accel_reason = strdup(accel_reason);
	int r = p.accel_reason ? find_obstacle(&p) : -ENOMEM;
	if (r == 1)
		r = fill_versions(&p, progress);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "asking Firecracker for its version");
	if (r < 0)
		return mvm_error_oom(err);
	*ret = p;
	p = (struct vmm_probe){ 0 };
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/accel.h"
#include "vmm/ask.h"
#include "vmm/qemu/qemu.h"

#define VERSION_TIMEOUT_MS 30000

const char *qemu_version_of(const char *text, size_t *ret_len)
{
	static const char before[] = "QEMU emulator version ";
	if (!str_starts(text, before))
		return NULL;
	const char *version = text + strlen(before);
	*ret_len = strcspn(version, "\r\n");
	return *ret_len ? version : NULL;
}

static int fill_version(struct vmm_probe *p, const struct mvm_progress *progress)
{
	char text[ASK_TEXT_MAX];
	size_t len = 0;
	char *const argv[] = { p->binary, (char[]){ "--version" }, NULL };
	int r = program_ask(argv, AT_FDCWD, clock_deadline_ns(VERSION_TIMEOUT_MS), progress, text);
	if (r == -ENOMEM || r == -ECANCELED)
		return r;
	const char *version = r < 0 ? NULL : qemu_version_of(text, &len);
	if (version) {
		p->version = strndup(version, len);
		p->usable = p->version;
		return p->version ? 0 : -ENOMEM;
	}
	p->reason = r < 0 ? str_printf("'%s --version' failed: %s", p->binary, strerror(-r))
			  : str_printf("'%s' is no QEMU: --version says '%.*s'", p->binary,
				       (int)strcspn(text, "\n"), text);
	return p->reason ? 0 : -ENOMEM;
}

int qemu_probe(const struct mvm_progress *progress, struct vmm_probe *ret, struct mvm_error *err)
{
	AUTO_DONE(vmm_probe) p = { 0 };
	const char *accel_reason = NULL;
	p.accel = vmm_accel_choose(&accel_reason);
	p.accel_reason = strdup(accel_reason);
	if (!p.accel_reason)
		return mvm_error_oom(err);

	int r = vmm_backend_binary(&vmm_qemu, &p.binary);
	if (r == -ENOMEM)
		return mvm_error_oom(err);
	const char *named = getenv(QEMU_BINARY_ENV);
	if (r < 0 && !str_empty(named))
		p.reason = str_printf(QEMU_BINARY_ENV " names '%s': %s", named, strerror(-r));
	else if (r < 0)
		p.reason = strdup("there is no " QEMU_BINARY " on PATH (package qemu-system-x86)"
				  ", and " QEMU_BINARY_ENV " names none");
	else if (tsc_khz_find(&p.tsc_khz) < 0)
		p.reason = strdup("this host's CPU is not x86_64");
	else
		r = fill_version(&p, progress);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "asking QEMU for its version");
	if (!p.usable && !p.reason)
		return mvm_error_oom(err);
	*ret = p;
	p = (struct vmm_probe){ 0 };
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "hints.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* By reason; %1$s is the error's subject.  Sorted. */
static const struct hint {
	const char *reason, *text;
} hints[] = {
	{ "backend-unusable", "mvm doctor" },
	{ "current-damaged", "choose one with 'mvm template rollback %1$s REV', or build it" },
	{ "data-folder-foreign",
	  "name another folder, which mvm creates, with --data-dir; or, if mvm made this one, mark "
	  "it: echo '{\"format\": 1}' >DIR/mvm-data.json" },
	{ "data-folder-marker", "if mvm made this folder, mark it anew: rm DIR/mvm-data.json && "
				"echo '{\"format\": 1}' >DIR/mvm-data.json" },
	{ "data-folder-missing", "name one with --data-dir or MVM_DATA_DIR" },
	{ "data-folder-newer", "update mvm, or name another folder with --data-dir" },
	{ "data-folder-open", "make it private with chmod go-w, or name another with --data-dir" },
	{ "data-folder-path", "as root, name a folder on a path without links that only root may "
			      "change: --data-dir /root/.mvm" },
	{ "data-folder-place", "name a folder below it, as in --data-dir DIR/mvm" },
	{ "data-folder-refused", "name a folder of your own with --data-dir or MVM_DATA_DIR" },
	{ "data-folder-split",
	  "keep the data folder whole on one file system: unmount what is mounted in it, and name "
	  "a folder on the larger disk with --data-dir" },
	{ "guest-broke-protocol", "end it with 'mvm stop --timeout 0'" },
	{ "guest-memory-full", "all but a data disk is in the guest's memory: give it more with "
			       "--mem, or copy to the data disk, /data (data_disk_mib)" },
	{ "host-memory-full", "start fewer, or end others: 'mvm stats' shows what they take" },
	{ "image-too-large",
	  "if you trust the image, 'mvm template build ID --max-image-size SIZE' allows more" },
	{ "instance-exists", "choose another --name, or remove it with 'mvm rm %1$s'" },
	{ "instance-in-the-way", "stop it first: 'mvm stop %1$s'" },
	{ "instance-runs", "stop it first with 'mvm stop %1$s', or use 'mvm rm --force %1$s'" },
	{ "kernel-ambiguous",
	  "put kernel = \"NAME\" into the template; 'mvm kernel list' shows the names" },
	{ "kernel-exists", "choose another --name, or replace it with --force" },
	{ "kernel-needed", "mvm kernel fetch" },
	{ "kernel-not-found", "get a vmlinuz, or Debian's package of a kernel for cloud guests, "
			      "and run 'mvm kernel add FILE'" },
	{ "kernel-too-large", "unpack a package that you trust by 'dpkg-deb -x FILE.deb DIR' and "
			      "add DIR/boot/vmlinuz-*" },
	{ "kernel-without-name", "choose a name with --name" },
	{ "nix-wrong-hash", "--update-hash writes the hash that Nix found into flake.nix" },
	{ "no-backend", "see 'mvm backends'; Debian's package is qemu-system-x86" },
	{ "no-kernel", "see 'mvm kernel list', or get one with 'mvm kernel fetch'" },
	{ "no-revision", "see 'mvm template history %1$s'" },
	{ "no-template", "see 'mvm template list'" },
	{ "no-volume", "'mvm volume list' shows what there is" },
	{ "revision-damaged", "build it anew with 'mvm template build %1$s --force'" },
	{ "revision-unsound", "go back with 'mvm template rollback %1$s', or build it anew with "
			      "'mvm template build %1$s --force'" },
	{ "rollback-damaged",
	  "name another: see 'mvm template history %1$s', and 'mvm template verify %1$s'" },
	{ "rollback-where", "name one: see 'mvm template history %1$s'" },
	{ "snapshot-damaged", "make a new one with 'mvm template build %1$s --snapshot --force', "
			      "or start without it with --cold" },
	{ "start-failed",
	  "'mvm logs %1$s' shows all that it has printed, 'mvm rm %1$s' removes it" },
	{ "template-damaged",
	  "write it anew with 'mvm template apply' or 'mvm template create --force'" },
	{ "template-exists",
	  "change it with 'mvm template edit %1$s', or replace it with --force" },
	{ "template-in-use", "stop what runs from it: see 'mvm ps' and 'mvm stop', or, for VMs "
			     "that wait in a pool, 'mvm pool set %1$s --size 0'" },
	{ "template-not-built", "build it with 'mvm template build %1$s'" },
	{ "vm-paused", "let it go on with 'mvm resume'" },
	{ "volumes-not-back", "try again with a longer --timeout, save it with 'mvm cp', or give "
			      "it up with 'mvm stop --timeout 0 %1$s'" },
};

static int by_reason(const void *key, const void *row)
{
	return strcmp(key, ((const struct hint *)row)->reason);
}

void hint_of(const struct mvm_error *err, char ret[HINT_SIZE])
{
	const struct hint *h = bsearch(err->reason, hints, sizeof(hints) / sizeof(hints[0]),
				       sizeof(hints[0]), by_reason);

	if (!h || !err->reason[0] || err->hint[0]) { /* the error's own hint is more exact */
		snprintf(ret, HINT_SIZE, "%s", err->hint);
		return;
	}
	ret[0] = '\0';
	for (const char *p = h->text; *p;) {
		const char *at = strstr(p, "%1$s");
		size_t len = strlen(ret);
		int n = at ? (int)(at - p) : (int)strlen(p);
		snprintf(ret + len, HINT_SIZE - len, "%.*s%s", n, p, at ? err->subject : "");
		p += n + (at ? 4 : 0);
	}
}

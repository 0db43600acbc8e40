/* SPDX-License-Identifier: Apache-2.0 */
#include "hints.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* By reason, sorted.  %1$s is the error's subject, quoted for a shell where that is needed; %2$s is
 * this user's id. */
static const struct hint {
	const char *reason, *text;
	const char *bare; /* without a subject; NULL: then there is no hint */
} hints[] = {
	{ "artifact-ambiguous", "name the tag of one with --tag",
	  "name the tag of one with --tag" },
	{ "artifact-unsigned", "see who has signed it: mvm template verify --remote %1$s",
	  "see 'mvm key list'" },
	{ "artifact-variants", "list them: mvm template list --remote %1$s --json",
	  "'mvm template list' lists them, with --remote and --json" },
	{ "backend-no-network", "run templates with network = \"none\", or --backend qemu", NULL },
	{ "backend-unusable", "'mvm doctor' says what is missing", NULL },
	{ "current-damaged",
	  "choose one of 'mvm template history %1$s' with 'mvm template rollback %1$s REV', or "
	  "build it anew with 'mvm template build %1$s --force'",
	  NULL },
	{ "data-folder-foreign",
	  "name another folder, which mvm creates, with --data-dir; or, if mvm made this one, mark "
	  "it: echo '{\"format\": 1}' >%1$s/mvm-data.json",
	  "name another folder, which mvm creates, with --data-dir" },
	{ "data-folder-full",
	  "make room on its disk: 'mvm rm', 'mvm template delete' and 'mvm kernel rm' work on a "
	  "full one, and 'mvm template prune' then removes the files that nothing needs any more",
	  NULL },
	{ "data-folder-low", "mvm template prune", NULL },
	{ "data-folder-marker",
	  "if mvm made this folder, mark it anew: mv %1$s/mvm-data.json %1$s/mvm-data.old && echo "
	  "'{\"format\": 1}' >%1$s/mvm-data.json",
	  "name another folder, which mvm creates, with --data-dir" },
	{ "data-folder-missing", "name one with --data-dir or MVM_DATA_DIR", NULL },
	{ "data-folder-nested", "name that one, as in --data-dir %1$s, or a folder outside of it",
	  "name a folder outside of it with --data-dir" },
	{ "data-folder-newer", "update mvm, or name another folder with --data-dir", NULL },
	{ "data-folder-no-reflinks", "name a folder on xfs or btrfs with --data-dir", NULL },
	{ "data-folder-open",
	  "name another folder with --data-dir; or, if mvm made this one, make it private: chmod "
	  "go-w %1$s",
	  "name another folder with --data-dir" },
	{ "data-folder-part", "make it yours, as root: chown %2$s %1$s && chmod go-w %1$s",
	  "make it yours with chown, as root" },
	{ "data-folder-path",
	  "as root, name a folder on a path without links that only root may change: --data-dir "
	  "/root/.mvm",
	  NULL },
	{ "data-folder-place", "name a folder below it, as in --data-dir %1$s/mvm",
	  "name a folder below it with --data-dir" },
	{ "data-folder-refused", "name a folder of your own with --data-dir or MVM_DATA_DIR",
	  NULL },
	{ "data-folder-remote", "name a local folder with --data-dir", NULL },
	{ "data-folder-split",
	  "keep the data folder whole on one file system: unmount what is mounted in it, and name "
	  "a folder on the larger disk with --data-dir",
	  NULL },
	{ "data-folder-unfit", "name another folder with --data-dir", NULL },
	{ "data-folder-volatile", "name another folder with --data-dir", NULL },
	{ "file-exists", "choose another name, or replace it with --force",
	  "choose another name, or replace it with --force" },
	{ "guest-broke-protocol", "end it with 'mvm stop --timeout 0 %1$s'", NULL },
	{ "guest-memory-full",
	  "the guest's files are in its memory, except on a disk: give it a disk for its root with "
	  "--root-disk, more memory with --mem, or copy to the data disk, /data (data_disk_mib)",
	  NULL },
	{ "guest-silent",
	  "try it again when the host is less busy; if it never boots, the console's lines above "
	  "say where it hangs",
	  NULL },
	{ "host-busy", "mvm stats", NULL },
	{ "host-memory-full",
	  "start fewer or smaller VMs (--mem), or end others: 'mvm stats' shows their memory",
	  NULL },
	{ "image-is-template", "mvm run --template %1$s", NULL },
	{ "image-too-large",
	  "if you trust the image, 'mvm template build %1$s --max-image-size SIZE' allows more",
	  "if you trust the image, --max-image-size allows more" },
	{ "instance-copy",
	  "if nothing in it is needed, 'rm -r instances/%1$s' in the data folder removes it",
	  NULL },
	{ "instance-damaged", "remove it with 'mvm rm --force %1$s'", NULL },
	{ "instance-ended", "'mvm logs %1$s' shows its output, 'mvm rm %1$s' removes it",
	  "'mvm ps' shows how it ended" },
	{ "instance-exists", "choose another name, or end and remove it with 'mvm rm --force %1$s'",
	  NULL },
	{ "instance-in-the-way", "stop it first: 'mvm stop %1$s'", NULL },
	{ "instance-not-alone", "move it to another place, or remove it as well with 'mvm rm %1$s'",
	  NULL },
	{ "instance-runs", "stop it first with 'mvm stop %1$s', or use 'mvm rm --force %1$s'",
	  NULL },
	{ "instance-suspended", "continue it with 'mvm resume %1$s'", NULL },
	{ "kernel-ambiguous",
	  "put kernel = \"NAME\" into the template; 'mvm kernel list' shows the names", NULL },
	{ "kernel-damaged",
	  "replace it with 'mvm kernel add FILE --name %1$s --force' or 'mvm kernel fetch --name "
	  "%1$s --force', or forget it with 'mvm kernel rm %1$s'",
	  NULL },
	{ "kernel-exists", "choose another --name, or replace it with --force", NULL },
	{ "kernel-needed", "mvm kernel fetch", NULL },
	{ "kernel-not-found",
	  "download Debian's package of a kernel for cloud guests on another machine or in a "
	  "container, as 'mvm help kernel fetch' shows, and run 'mvm kernel add FILE.deb'; or put "
	  "it into your registry with 'oras push REF FILE.deb', and run 'mvm kernel fetch REF' on "
	  "each host",
	  NULL },
	{ "kernel-too-large",
	  "unpack a package that you trust by 'dpkg-deb -x FILE.deb DIR' and add "
	  "DIR/boot/vmlinuz-*",
	  NULL },
	{ "kernel-unknown",
	  "name a vmlinuz, a vmlinux or a Debian package, or get one with 'mvm kernel fetch'",
	  NULL },
	{ "kernel-without-name", "choose a name with --name", NULL },
	{ "kvm-unusable", "'mvm doctor' says how to get KVM, which makes VMs much faster", NULL },
	{ "lock-foreign", "move it to another place: mv %1$s %1$s.old",
	  "move it to another place, then run the command again" },
	{ "lock-linked",
	  "copy data folders with cp -a, not with hard links; in this copy, remove the second "
	  "names: find %1$s -type f -links +1 -delete",
	  "copy data folders with cp -a, not with hard links" },
	{ "memory-sealed", "start it with --private-memory", NULL },
	{ "nix-wrong-hash", "--update-hash writes the hash that Nix found into flake.nix", NULL },
	{ "no-backend", "see 'mvm backends'; Debian's package is qemu-system-x86", NULL },
	{ "no-instance", "see 'mvm ps'", NULL },
	{ "no-kernel", "see 'mvm kernel list', or get one with 'mvm kernel fetch'", NULL },
	{ "no-key", "see 'mvm key list'", NULL },
	{ "no-revision", "see 'mvm template history %1$s'", NULL },
	{ "no-tag", "list the tags: mvm template list --remote %1$s", NULL },
	{ "no-template", "see 'mvm template list'", NULL },
	{ "no-volume", "see 'mvm volume list'", NULL },
	{ "port-taken",
	  "end what has it, perhaps one of 'mvm ps'; or choose another port with 'mvm run', or 0, "
	  "which takes a free one: -p 0:GUEST",
	  NULL },
	{ "registry-login", "check the name, or log in as a user who may do this: mvm login %1$s",
	  "log in as a user who may do this, with 'mvm login'" },
	{ "revision-damaged", "build it anew with 'mvm template build %1$s --force'", NULL },
	{ "revision-unsound",
	  "build it anew with 'mvm template build %1$s --force', or go back to another one of 'mvm "
	  "template history %1$s'",
	  NULL },
	{ "rollback-damaged",
	  "name another: see 'mvm template history %1$s', and 'mvm template verify %1$s'", NULL },
	{ "rollback-where", "'mvm template history %1$s' lists the revisions", NULL },
	{ "saved-damaged",
	  "start it cold with 'mvm start %1$s', which discards what it has suspended", NULL },
	{ "snapshot-damaged",
	  "make a new one with 'mvm template build %1$s --snapshot --force', or start without it "
	  "with --cold",
	  NULL },
	{ "snapshot-stale", "mvm template snapshot %1$s", NULL },
	{ "snapshot-unusable", "mvm template build %1$s --snapshot --force", NULL },
	{ "start-failed", "'mvm logs %1$s' shows all of its output, 'mvm rm %1$s' removes it",
	  NULL },
	{ "supervisor-silent",
	  "end and remove the VM with 'mvm rm --force %1$s'; if somebody has only stopped its "
	  "processes, 'mvm inspect %1$s' shows their pids, for kill -CONT",
	  NULL },
	{ "suspended-unusable",
	  "start it cold with 'mvm start %1$s', which discards what it has suspended", NULL },
	{ "template-damaged",
	  "write it anew with 'mvm template apply FILE' or 'mvm template create %1$s --force "
	  "--flake REF'",
	  NULL },
	{ "template-exists", "change it with 'mvm template edit %1$s', or replace it with --force",
	  NULL },
	{ "template-in-use",
	  "stop the VMs that run from it: see 'mvm ps' and 'mvm stop'; 'mvm pool set %1$s --size "
	  "0' "
	  "ends VMs that wait in its pool",
	  NULL },
	{ "template-not-built", "build it with 'mvm template build %1$s'", NULL },
	{ "vm-paused", "resume it with 'mvm resume %1$s'", NULL },
	{ "vm-silent",
	  "'mvm logs --console %1$s' shows what its guest printed last; end it with 'mvm stop "
	  "--timeout 0 %1$s'",
	  NULL },
	{ "volume-foreign", "if nothing in it is needed, remove it with 'rm -r %1$s'", NULL },
	{ "volume-in-use", "stop the VM that uses it: see 'mvm ps'", NULL },
	{ "volumes-not-back",
	  "if the time was too short, stop it with 'mvm stop --timeout 5m %1$s'; otherwise save "
	  "its "
	  "files with 'mvm cp', or discard them with 'mvm stop --timeout 0 %1$s'",
	  NULL },
};

static int by_reason(const void *key, const void *row)
{
	return strcmp(key, ((const struct hint *)row)->reason);
}

struct writer {
	char *to;
	size_t len;
	bool full;
};

static void put(struct writer *w, const char *text, size_t len)
{
	w->full |= len >= HINT_SIZE - w->len;
	if (w->full)
		return;
	memcpy(w->to + w->len, text, len);
	w->len += len;
	w->to[w->len] = '\0';
}

/* A folder's name may have any character.  rest: the text behind it. */
static void put_quoted(struct writer *w, const char *word, const char *rest)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_@%+=:,./-";
	size_t len = strlen(word);

	while (*rest == '/' && len > 0 && word[len - 1] == '/')
		len--;
	if (strspn(word, plain) >= len) {
		put(w, word, len);
		return;
	}
	put(w, "'", 1);
	for (size_t i = 0; i < len; i++)
		put(w, word[i] == '\'' ? "'\\''" : word + i, word[i] == '\'' ? 4 : 1);
	put(w, "'", 1);
}

/* Returns false when it does not fit. */
static bool expand(const char *text, const char *subject, char ret[HINT_SIZE])
{
	struct writer w = { .to = ret };
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
	for (const char *at; (at = strchr(text, '%')); text = at + strlen("%1$s")) {
		put(&w, text, (size_t)(at - text));
		put_quoted(&w, at[1] == '1' ? subject : uid, at + strlen("%1$s"));
	}
	put(&w, text, strlen(text));
	return !w.full;
}

void hint_of(const struct mvm_error *err, char ret[HINT_SIZE])
{
	const struct hint *h = bsearch(err->reason, hints, sizeof(hints) / sizeof(hints[0]),
				       sizeof(hints[0]), by_reason);

	ret[0] = '\0';
	if (err->hint[0]) { /* it is more exact than the reason's */
		snprintf(ret, HINT_SIZE, "%s", err->hint);
		return;
	}
	if (!h || !err->reason[0])
		return;
	const char *text = !strstr(h->text, "%1$s") || err->subject[0] ? h->text : h->bare;
	if (!text || !expand(text, err->subject, ret))
		ret[0] = '\0';
}

const char *hint_of_reason(const char *reason, const char *subject, char buf[HINT_SIZE])
{
	struct mvm_error err = { 0 };

	snprintf(err.reason, sizeof(err.reason), "%s", reason ? reason : "");
	snprintf(err.subject, sizeof(err.subject), "%s", subject ? subject : "");
	hint_of(&err, buf);
	return buf[0] ? buf : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "template/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/error.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "net/agent.h"

#define HOST_ID_CONTEXT "mvm snapshot host 1:"

/* A name for this host that says nothing else about it, as machine-id(5) asks of its users. */
static void host_id(char ret[65])
{
	static const char *const files[] = { "/etc/machine-id", "/var/lib/dbus/machine-id",
					     "/proc/sys/kernel/random/boot_id" };
	AUTO_FREE char *id = NULL;
	AUTO_DONE(strbuf) text = { 0 };
	struct mvm_digest digest;
	size_t len = 0;

	for (size_t i = 0; i < MVM_ARRAY_SIZE(files) && len < 32; i++) {
		free(TAKE_PTR(id));
		if (file_read_at(AT_FDCWD, files[i], 4096, &id, &len) < 0)
			len = 0;
	}
	strbuf_adds(&text, HOST_ID_CONTEXT);
	strbuf_add(&text, id, len);
	sha256_buf(text.data, text.len, &digest);
	digest_hex(&digest, ret);
	ret[32] = '\0';
}

int facts_gather(const struct facts_input *in, struct strv *ret, struct mvm_error *err)
{
	struct utsname uts;
	char host[65];

	if (uname(&uts) < 0)
		return mvm_error_set(err, -errno, "uname: %s", strerror(errno));
	host_id(host);
	strv_addf(ret, "backend=%s", in->ops->name);
	strv_addf(ret, "host=%s", host);
	strv_addf(ret, "arch=%s", uts.machine);
	int r = in->ops->facts(in->probe, in->config, ret, err);
	if (r < 0)
		return r;
	strv_addf(ret, "boot_args=%s", in->config->cmdline);
	strv_addf(ret, "vcpus=%u", in->config->vcpus);
	strv_addf(ret, "mem_mib=%u", in->config->mem_mib);
	strv_addf(ret, "agent_protocol=%u", AGENT_PROTOCOL);
	for (size_t i = 0; i < in->artifacts->n; i++)
		strv_add(ret, in->artifacts->v[i]);
	return ret->failed ? mvm_error_oom(err) : 0;
}

/* People know these by other names than the keys. */
static const char *describe(const char *key, size_t len)
{
	static const struct {
		const char *key, *name;
	} names[] = {
		{ "host", "the host it was made on" },
		{ "boot_args", "the kernel's command line" },
		{ "vcpus", "the number of vCPUs" },
		{ "mem_mib", "the memory size in MiB" },
		{ "agent_protocol", "the agent's protocol" },
		{ "arch", "the architecture" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (strlen(names[i].key) == len && memcmp(names[i].key, key, len) == 0)
			return names[i].name;
	}
	return NULL;
}

int facts_compare(const struct mvm_snapshot_info *snapshot, const struct strv *here,
		  char **ret_reason)
{
	for (size_t i = 0; i < here->n; i++) {
		const char *fact = here->v[i];
		size_t len = strcspn(fact, "=");
		AUTO_FREE char *key = strndup(fact, len);
		if (!key)
			return -ENOMEM;
		const char *theirs = mvm_snapshot_info_compat(snapshot, key);
		const char *ours = fact + len + 1;
		if (str_eq(theirs, ours))
			continue;
		const char *name = describe(key, len);
		*ret_reason = str_printf("%s differs: the snapshot has '%s', here is '%s'",
					 name ? name : key, theirs ? theirs : "nothing", ours);
		return *ret_reason ? 0 : -ENOMEM;
	}
	return 1;
}

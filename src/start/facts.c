/* SPDX-License-Identifier: Apache-2.0 */
#include "start/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/error.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "net/agent.h"

#define HOST_ID_CONTEXT "mvm snapshot host 1:"

/* A name for this host that reveals nothing about it, as machine-id(5) demands. */
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
	strv_addf(ret, FACT_HOST "=%s", host);
	strv_addf(ret, "arch=%s", uts.machine);
	int r = in->ops->facts(in->probe, in->config, ret, err);
	if (r < 0)
		return r;
	/* after the version, which tells a user more; but a private build may keep the version */
	if (in->probe->binary_digest)
		strv_addf(ret, "binary_sha256=%s", in->probe->binary_digest);
	strv_addf(ret, "boot_args=%s", in->config->cmdline);
	strv_addf(ret, "vcpus=%u", in->config->vcpus);
	strv_addf(ret, "mem_mib=%u", in->config->mem_mib);
	if (in->root_disk_mib)
		strv_addf(ret, "root_disk_mib=%" PRIu32, in->root_disk_mib);
	strv_addf(ret, "agent_protocol=%u", AGENT_PROTOCOL);
	for (size_t i = 0; i < in->artifacts->n; i++)
		strv_add(ret, in->artifacts->v[i]);
	return ret->failed ? mvm_error_oom(err) : 0;
}

/* Other facts are of a machine, of its files, or of one host. */
static const char *const facts_of_cpu[] = { "cpu=", "host_kernel=", "tsc_khz=", NULL };
static const char *const facts_of_backend[] = { "backend=",	  "arch=",	     "version=",
						"state_format=",  "accelerator=",    "machine=",
						"binary_sha256=", "agent_protocol=", NULL };

static void hash_facts(char *const *facts, size_t n, const char *const *keys,
		       char ret[VARIANT_HASH_SIZE])
{
	char hex[DIGEST_HEX_SIZE];
	struct mvm_digest digest;
	struct sha256 h;

	sha256_init(&h);
	for (; *keys; keys++) {
		for (size_t i = 0; i < n; i++) {
			if (str_starts(facts[i], *keys))
				sha256_add(&h, facts[i], strlen(facts[i]) + 1);
		}
	}
	sha256_end(&h, &digest);
	digest_hex(&digest, hex);
	memcpy(ret, hex, VARIANT_HASH_SIZE - 1);
	ret[VARIANT_HASH_SIZE - 1] = '\0';
}

void facts_key(char *const *facts, size_t n, struct variant_key *ret)
{
	hash_facts(facts, n, facts_of_cpu, ret->cpu);
	hash_facts(facts, n, facts_of_backend, ret->backend);
}

bool facts_fit(const struct mvm_snapshot_info *snapshot, const struct variant_key *keys, size_t n)
{
	struct variant_key key;

	facts_key(snapshot->compat.v, snapshot->compat.n, &key);
	while (n > 0 && memcmp(&key, &keys[n - 1], sizeof(key)) != 0)
		n--;
	return n > 0;
}

/* Names of keys for the user. */
static const char *describe(const char *key, size_t len)
{
	static const struct {
		const char *key, *name;
	} names[] = {
		{ FACT_HOST, "the host it was made on" },
		{ "boot_args", "the kernel's command line" },
		{ "vcpus", "the number of vCPUs" },
		{ "mem_mib", "the memory size in MiB" },
		{ "root_disk_mib", "the root disk's size in MiB" },
		{ "agent_protocol", "the agent's protocol" },
		{ "arch", "the architecture" },
		{ "version", "the VMM's version" },
		{ "binary_sha256", "the VMM's program" },
		{ "state_format", "the format of the VMM's device state" },
		{ "host_kernel", "the host's kernel" },
		{ "tsc_khz", "the TSC's frequency in kHz" },
		{ "cpu", "the CPU" },
		{ "machine", "the machine type" },
		{ "devices", "the list of devices" },
		{ "vmlinux", "the kernel" },
		{ "rootfs", "the root filesystem" },
		{ "data_disk", "the data disk" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (strlen(names[i].key) == len && memcmp(names[i].key, key, len) == 0)
			return names[i].name;
	}
	return NULL;
}

/* The value of "key=value" in a list, or NULL. */
static const char *find(const struct strv *list, const char *key, size_t len)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strncmp(list->v[i], key, len) == 0 && list->v[i][len] == '=')
			return list->v[i] + len + 1;
	}
	return NULL;
}

static int differs(const char *key, size_t len, const char *theirs, const char *ours,
		   char **ret_reason)
{
	const char *name = describe(key, len);
	*ret_reason = str_printf("%.*s differs: '%s' in the snapshot, '%s' here",
				 name ? (int)strlen(name) : (int)len, name ? name : key,
				 theirs ? theirs : "nothing", ours ? ours : "nothing");
	return *ret_reason ? 0 : -ENOMEM;
}

/* Members of the SnapshotInfo beside the facts, which readers of the base format rely on. */
static int compare_info(const struct mvm_snapshot_info *snapshot, const struct strv *here,
			char **ret_reason)
{
	char vcpus[4], mem_mib[12];
	snprintf(vcpus, sizeof(vcpus), "%u", snapshot->vcpus);
	snprintf(mem_mib, sizeof(mem_mib), "%u", snapshot->mem_mib);
	const struct {
		const char *key, *value;
	} infos[] = {
		{ "boot_args", snapshot->boot_args },
		{ "vcpus", vcpus },
		{ "mem_mib", mem_mib },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(infos); i++) {
		size_t len = strlen(infos[i].key);
		const char *ours = find(here, infos[i].key, len);
		if (!str_eq(infos[i].value, ours))
			return differs(infos[i].key, len, infos[i].value, ours, ret_reason);
	}
	return 1;
}

/* An unknown key is a dependency that only the program that wrote it can judge. */
static int compare_rest(const struct mvm_snapshot_info *snapshot, const struct strv *here,
			char **ret_reason)
{
	static const char *const proofs[] = { FACT_MEM_FILE, FACT_DATA_FILE, FACT_ROOT_FILE,
					      FACT_OWN_IMAGE, FACT_NONCE };
	for (size_t i = 0; i < snapshot->compat.n; i++) {
		const char *pair = snapshot->compat.v[i];
		size_t len = strcspn(pair, "=");
		bool known = find(here, pair, len) != NULL;
		for (size_t k = 0; k < MVM_ARRAY_SIZE(proofs); k++)
			known |= strlen(proofs[k]) == len && memcmp(proofs[k], pair, len) == 0;
		if (!known)
			return differs(pair, len, pair + len + 1, NULL, ret_reason);
	}
	return 1;
}

int facts_compare(const struct mvm_snapshot_info *snapshot, const struct strv *here,
		  char **ret_reason)
{
	for (size_t i = 0; i < here->n; i++) {
		const char *fact = here->v[i];
		size_t len = strcspn(fact, "=");
		if (snapshot->origin && str_starts(fact, FACT_HOST "="))
			continue;
		AUTO_FREE char *key = strndup(fact, len);
		if (!key)
			return -ENOMEM;
		const char *theirs = mvm_snapshot_info_compat(snapshot, key);
		const char *ours = fact + len + 1;
		if (!str_eq(theirs, ours))
			return differs(key, len, theirs, ours, ret_reason);
	}
	int r = compare_rest(snapshot, here, ret_reason);
	return r == 1 ? compare_info(snapshot, here, ret_reason) : r;
}

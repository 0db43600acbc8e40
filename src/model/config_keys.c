/* SPDX-License-Identifier: Apache-2.0 */
#include "model/config_keys.h"

#include <assert.h>

#include "model/run.h"

#define BOTH (CONFIG_TOP | CONFIG_VARIANT)

#define TEXT(number)  TEXT_(number)
#define TEXT_(number) #number

/* the texts below spell these numbers out */
_Static_assert(MVM_DATA_DISK_MIB_MIN == 8 && MVM_ROOT_DISK_MIB_MIN == 8 && RUN_LIST_MAX == 4096 &&
		       RUN_BYTES_MAX >> 10 == 56,
	       "limits");
_Static_assert(MVM_HEALTH_INTERVAL_MS == 200 && MVM_HEALTH_TIMEOUT_S == 60 &&
		       MVM_HEALTH_RETRIES == 3,
	       "defaults");

#define ID_RULE	  "1 to 63 of a-z 0-9 - _, beginning with a letter or digit"
#define OR_EMPTY  "; empty means the default"
#define IN_BYTES  "; command, env and on_restore at most 56 KiB together"
#define NAME_RULE "1 to 63 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"

const struct config_key config_keys[CONFIG_KEYS_N] = {
	{ "template_id", CONFIG_TOP, "string", .limits = ID_RULE OR_EMPTY, .by_default = "none",
	  .help = "A variant without a name of its own becomes the template <template_id>-<role>. "
		  "Needed unless every variant has a name.",
	  .example = "template_id = \"web\"" },
	{ "flake_ref", CONFIG_TOP, "string", .limits = "at most 4096 bytes, no control characters",
	  .by_default = "required",
	  .help = "Where the root filesystem comes from: dir:FOLDER, tar:FILE, "
		  "docker://IMAGE[:TAG], oci:DIR[:TAG], "
		  "oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], or a Nix flake, with or "
		  "without #ATTRIBUTE. A relative path counts from the file's folder.",
	  .example = "flake_ref = \"dir:rootfs\"" },
	{ "profile", BOTH, "string", .limits = NAME_RULE "; empty counts as missing",
	  .by_default = "\"" MVM_DEFAULT_PROFILE "\"",
	  .help = "Chooses the package of a Nix flake, with the role.",
	  .example = "profile = \"minimal\"" },
	{ "variants", CONFIG_TOP, "array of tables", .limits = "1 to 4096",
	  .by_default = "required", .help = "Each variant becomes a template.",
	  .example = "[[variants]]" },
	{ "name", CONFIG_VARIANT, "string", .limits = ID_RULE ", each once" OR_EMPTY,
	  .by_default = "<template_id>-<role>", .help = "The template's name.",
	  .example = "name = \"web-gateway\"" },
	{ "role", CONFIG_VARIANT, "string", .limits = NAME_RULE, .by_default = "required",
	  .help = "What the VM is for; it chooses the package of a Nix flake, with the profile.",
	  .example = "role = \"worker\"" },
	{ "vcpus", CONFIG_VARIANT, "whole number", MVM_VCPUS_MIN, MVM_VCPUS_MAX, NULL,
	  TEXT(MVM_DEFAULT_VCPUS), "Virtual CPUs.", "vcpus = 2" },
	{ "mem_mib", CONFIG_VARIANT, "whole number", MVM_MEM_MIB_MIN, UINT32_MAX, NULL,
	  TEXT(MVM_DEFAULT_MEM_MIB), "Memory in MiB.", "mem_mib = 512" },
	{ "data_disk_mib", CONFIG_VARIANT, "whole number", 0, MVM_DATA_DISK_MIB_MAX, "not 1 to 7",
	  "0", "Size of the data disk in MiB; 0 is none.", "data_disk_mib = 1024" },
	{ "root_disk_mib", CONFIG_VARIANT, "whole number", 0, MVM_ROOT_DISK_MIB_MAX, "not 1 to 7",
	  "0",
	  "Size of the disk that takes what the guest writes to its root, in MiB; 0: the guest's "
	  "memory takes it.",
	  "root_disk_mib = 4096" },
	{ "command", BOTH, "array of strings", .limits = "at most 4096 words" IN_BYTES,
	  .by_default = "the image's own command or init",
	  .help = "The workload: a program in the image and its arguments. No shell reads them.",
	  .example = "command = [\"/bin/httpd\", \"-f\", \"-p\", \"8080\"]" },
	{ "env", BOTH, "table of strings", .limits = "at most 4096; no '=' in names" IN_BYTES,
	  .by_default = "the image's", .help = "Environment of the workload, over the image's.",
	  .example = "env = { PORT = \"8080\" }" },
	{ "network", BOTH, "string, or table", .limits = "\"user\" or \"none\"",
	  .by_default = "\"user\"",
	  .help = "\"user\" is outbound NAT to the internet, and the ports that 'mvm run -p' "
		  "forwards. A table sets this as mode, and what the guest may reach.",
	  .example = "network = \"none\"" },
	{ "mode", CONFIG_NETWORK, "string", .limits = "\"user\" or \"none\"",
	  .by_default = "\"user\"", .help = "The network's mode when network is a table.",
	  .example = "mode = \"user\"" },
	{ "allow", CONFIG_NETWORK, "array of strings", .limits = "at most 128 rules",
	  .by_default = "none",
	  .help = "What the guest may always reach: an address or range, a domain, *.domain, "
		  "\"internet\", \"all\", or \"host:PORT\" of this host's loopback. All but the "
		  "last may end in :PORT. A name without a dot gets one at its end.",
	  .example = "allow = [\"*.example.org:443\", \"10.1.0.0/16\"]" },
	{ "deny", CONFIG_NETWORK, "array of strings", .limits = "at most 128 rules",
	  .by_default = "none",
	  .help = "What the guest may not reach, unless allow has it; \"all\" is everything. "
		  "Without rules the guest reaches public addresses, but neither this host nor "
		  "private networks.",
	  .example = "deny = [\"all\"]" },
	{ "dns", CONFIG_NETWORK, "array of strings", .limits = "at most 4 addresses",
	  .by_default = "this host's", .help = "The name servers that answer the guest's queries.",
	  .example = "dns = [\"9.9.9.9\"]" },
	{ "rate_mib", CONFIG_NETWORK, "whole number", 1, 1048576, NULL, "256",
	  "MiB that may pass in a second, both ways together.", "rate_mib = 100" },
	{ "rate_packets", CONFIG_NETWORK, "whole number", 100, 1000000000, NULL, "100000",
	  "Packets that may pass in a second, both ways together.", "rate_packets = 20000" },
	{ "initrd", BOTH, "string", .limits = "\"mvm\" or \"image\"", .by_default = "\"mvm\"",
	  .help = "\"image\" boots with the initrd that a Nix flake brings. Such a guest has no "
		  "agent, so command, env, health and on_restore cannot be set with it.",
	  .example = "initrd = \"mvm\"" },
	{ "kernel", BOTH, "string", .limits = NAME_RULE OR_EMPTY,
	  .by_default = "the image's own, or the only one that was added",
	  .help = "A guest kernel that 'mvm kernel list' shows.",
	  .example = "kernel = \"debian-6.1\"" },
	{ "boot_args", BOTH, "string", .limits = "at most 1024 printable ASCII characters",
	  .by_default = "none", .help = "Added to the kernel's command line.",
	  .example = "boot_args = \"quiet\"" },
	{ "snapshot", BOTH, "table", .by_default = "when the guest is healthy",
	  .help = "When the snapshot is taken.", .example = "snapshot = { point = \"boot\" }" },
	{ "point", CONFIG_SNAPSHOT, "string", .limits = "\"boot\" or \"healthy\"",
	  .by_default = "\"healthy\"",
	  .help = "\"healthy\" captures the running workload, so clones start fastest and share "
		  "its memory. \"boot\" captures the guest before its workload: each clone starts "
		  "its own, so clones share no secret of it.",
	  .example = "point = \"boot\"" },
	{ "on_restore", BOTH, "array of strings, or string",
	  .limits = "at most 4096 words" IN_BYTES "; \"restart\" or \"signal:NAME\"",
	  .by_default = "none",
	  .help = "A command that runs in every clone, once the clone has its identity. Or what "
		  "happens to the workload then: \"restart\", or a signal as in \"signal:USR1\". "
		  "Not with snapshot.point = \"boot\".",
	  .example = "on_restore = [\"/bin/reload\"]" },
	{ "health", BOTH, "table", .by_default = "healthy when the agent answers",
	  .help = "How mvm knows that the guest is healthy. A snapshot waits for that.",
	  .example = "health = { tcp = 8080 }" },
	{ "exec", CONFIG_HEALTH, "array of strings",
	  .limits = "at most one of exec, http and tcp; at most 4096 words and 56 KiB",
	  .by_default = "none", .help = "Healthy when this command ends with 0.",
	  .example = "exec = [\"/bin/true\"]" },
	{ "http", CONFIG_HEALTH, "string",
	  .limits =
		  "http:// and an IPv4 address, an IPv6 address in brackets or localhost; at most "
		  "2048 characters",
	  .by_default = "none",
	  .help = "Healthy when a GET of this URL, sent inside the guest, gets a 2xx or 3xx.",
	  .example = "http = \"http://127.0.0.1:8080/\"" },
	{ "tcp", CONFIG_HEALTH, "whole number", 1, UINT16_MAX, NULL, "none",
	  "Healthy when this port of the guest accepts connections.", "tcp = 8080" },
	{ "interval_ms", CONFIG_HEALTH, "whole number", 1, 3600000, NULL, "200",
	  "Milliseconds between attempts until it is healthy. Between later checks it is at least "
	  "1000, and 10000 if not set.",
	  "interval_ms = 500" },
	{ "timeout_s", CONFIG_HEALTH, "whole number", 1, 86400, NULL, "60",
	  "Seconds after which a start that is not healthy has failed.", "timeout_s = 120" },
	{ "retries", CONFIG_HEALTH, "whole number", 1, 1000, NULL, "3",
	  "This many failures in a row make the guest unhealthy.", "retries = 5" },
	{ "start_grace_s", CONFIG_HEALTH, "whole number", 1, 86400, NULL, "none",
	  "For this many seconds after the start, failures do not count.", "start_grace_s = 30" },
};

int config_check_keys(const struct toml_table *t, enum config_scope scope, struct mvm_error *err)
{
	const char *known[CONFIG_KEYS_N];
	size_t n = 0;

	for (size_t i = 0; i < CONFIG_KEYS_N; i++) {
		if (config_keys[i].scopes & scope)
			known[n++] = config_keys[i].name;
	}
	return toml_check_keys(t, known, n, err);
}

const struct config_key *config_find_key(enum config_scope scope, const char *name)
{
	size_t i = 0;
	while (!(config_keys[i].scopes & scope) || !str_eq(config_keys[i].name, name)) {
		i++;
		assert(i < CONFIG_KEYS_N);
	}
	return &config_keys[i];
}

int config_get_u32(const struct toml_table *t, enum config_scope scope, const char *key,
		   uint32_t *ret, struct mvm_error *err)
{
	const struct config_key *k = config_find_key(scope, key);
	return toml_get_u32(t, key, k->min, k->max, ret, err);
}

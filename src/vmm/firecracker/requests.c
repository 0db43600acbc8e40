/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests to Firecracker, by the definitions of its OpenAPI description.  They use only
 * properties that every release from 1.13 on knows.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "vmm/cmdline.h"
#include "vmm/firecracker/firecracker.h"

#define GUEST_CID 3 /* the same for all: each VM's vsock is its own process's */
#define GUEST_MAC "52:54:00:6d:76:6d"

#define INTERFACE      "eth0"
#define INTERFACE_PATH "/network-interfaces/" INTERFACE
#define BUCKET_MS      1000

#define NO_FILE "." /* a folder, so no file can be opened or made there */

void fc_requests_done(struct fc_requests *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].path);
		free(l->v[i].body);
	}
	*l = (struct fc_requests){ 0 };
}

/* Takes the body over; NULL (no memory, or no UTF-8 in it) is an error. */
static int add(struct fc_requests *l, const char *method, const char *path, json_t *body,
	       struct mvm_error *err)
{
	struct fc_request q = {
		.method = method,
		.path = strdup(path),
		.body = body ? json_dumps(body, JSON_COMPACT) : NULL,
	};
	bool no_text = !body;
	json_decref(body);
	if (q.path && q.body && l->n < FC_REQUESTS_MAX) {
		l->v[l->n++] = q;
		return 0;
	}
	free(q.path);
	free(q.body);
	if (no_text)
		return mvm_error_set(err, -EINVAL, "a name for Firecracker's %s is not UTF-8",
				     path);
	return mvm_error_oom(err);
}

const char *fc_drive_name(const struct vmm_drive *drive)
{
	const char *slash = strrchr(drive->name, '/');
	return slash ? slash + 1 : drive->name;
}

static int add_machine(struct fc_requests *l, const struct vmm_config *c, struct mvm_error *err)
{
	int r = add(l, "PUT", "/machine-config",
		    json_pack("{s:i, s:I, s:b, s:b}", "vcpu_count", (int)c->vcpus, "mem_size_mib",
			      (json_int_t)c->mem_mib, "smt", 0, "track_dirty_pages", 0),
		    err);
	if (r < 0)
		return r;
	return add(l, "PUT", "/boot-source",
		   json_pack("{s:s, s:s*, s:s}", "kernel_image_path", c->kernel, "initrd_path",
			     c->initrd, "boot_args", c->cmdline),
		   err);
}

/*
 * No drive is the root device: Firecracker would add root= to the command line, which the initrd
 * does not need.  "Writeback" makes the guest's flushes reach the disk.
 */
static int add_drive(struct fc_requests *l, const struct vmm_drive *drive, size_t index,
		     struct mvm_error *err)
{
	char id[32], path[48];
	snprintf(id, sizeof(id), "drive%zu", index);
	snprintf(path, sizeof(path), "/drives/%s", id);
	return add(l, "PUT", path,
		   json_pack("{s:s, s:s, s:b, s:b, s:s}", "drive_id", id, "path_on_host",
			     fc_drive_name(drive), "is_root_device", 0, "is_read_only",
			     drive->read_only, "cache_type",
			     drive->read_only ? "Unsafe" : "Writeback"),
		   err);
}

/* A bucket for a second, which refills in a second.  Firecracker takes 0 for no limit. */
static json_t *bucket(uint64_t per_s)
{
	return json_pack("{s:I, s:i}", "size", (json_int_t)per_s, "refill_time",
			 per_s ? BUCKET_MS : 0);
}

/* One direction's.  Firecracker has no limiter for both together. */
static json_t *limiter(const struct vmm_network *rules)
{
	return json_pack("{s:o, s:o}", "bandwidth", bucket(rules->bytes_per_s), "ops",
			 bucket(rules->packets_per_s));
}

/* Every VM has the same device in its network namespace, and every guest the same address. */
static int add_network(struct fc_requests *l, const struct vmm_network *rules,
		       struct mvm_error *err)
{
	return add(l, "PUT", INTERFACE_PATH,
		   json_pack("{s:s, s:s, s:s, s:o, s:o}", "iface_id", INTERFACE, "host_dev_name",
			     NETNS_TAP, "guest_mac", GUEST_MAC, "rx_rate_limiter", limiter(rules),
			     "tx_rate_limiter", limiter(rules)),
		   err);
}

int fc_requests_config(const struct vmm_config *c, struct fc_requests *ret, struct mvm_error *err)
{
	AUTO_DONE(fc_requests) list = { 0 };
	int r = add_machine(&list, c, err);
	for (size_t i = 0; i < c->n_drives && r == 0; i++)
		r = add_drive(&list, &c->drives[i], i, err);
	if (r == 0 && c->network)
		r = add_network(&list, &c->network_rules, err);
	if (r == 0)
		r = add(&list, "PUT", "/vsock",
			json_pack("{s:i, s:s}", "guest_cid", GUEST_CID, "uds_path", FC_VSOCK), err);
	if (r == 0)
		r = add(&list, "PUT", "/entropy", json_object(), err);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct fc_requests){ 0 };
	return 0;
}

static json_t *snapshot_body(const char *type, const char *state, const char *memory)
{
	return json_pack("{s:s, s:s, s:s}", "snapshot_type", type, "snapshot_path", state,
			 "mem_file_path", memory);
}

static json_t *load_body(bool resume)
{
	return json_pack("{s:s, s:{s:s, s:s}, s:b}", "snapshot_path", FC_STATE_FILE, "mem_backend",
			 "backend_type", "File", "backend_path", FC_MEMORY_FILE, "resume_vm",
			 resume);
}

int fc_requests_action(enum fc_action action, struct fc_requests *ret, struct mvm_error *err)
{
	switch (action) {
	case FC_START:
		return add(ret, "PUT", "/actions",
			   json_pack("{s:s}", "action_type", "InstanceStart"), err);
	case FC_PAUSE:
		return add(ret, "PATCH", "/vm", json_pack("{s:s}", "state", "Paused"), err);
	case FC_RESUME:
		return add(ret, "PATCH", "/vm", json_pack("{s:s}", "state", "Resumed"), err);
	case FC_SNAPSHOT_DIFF:
		return add(ret, "PUT", "/snapshot/create",
			   snapshot_body("Diff", FC_STATE_FILE, FC_MEMORY_FILE), err);
	case FC_SNAPSHOT_FULL:
		return add(ret, "PUT", "/snapshot/create",
			   snapshot_body("Full", FC_STATE_FILE, FC_MEMORY_FILE), err);
	case FC_SAVE_DEVICES:
		return add(ret, "PUT", "/snapshot/create",
			   snapshot_body("Diff", FC_DEVICES_FILE, NO_FILE), err);
	case FC_CTRL_ALT_DEL:
		return add(ret, "PUT", "/actions",
			   json_pack("{s:s}", "action_type", "SendCtrlAltDel"), err);
	case FC_LOAD_PAUSED:
		return add(ret, "PUT", "/snapshot/load", load_body(false), err);
	case FC_LOAD:
		break;
	}
	return add(ret, "PUT", "/snapshot/load", load_body(true), err);
}

int fc_requests_run(enum fc_action action, const struct vmm_network *rules, struct fc_requests *ret,
		    struct mvm_error *err)
{
	int r = fc_requests_action(action, ret, err);
	if (r < 0 || !rules)
		return r;
	return add(ret, "PATCH", INTERFACE_PATH,
		   json_pack("{s:s, s:o, s:o}", "iface_id", INTERFACE, "rx_rate_limiter",
			     limiter(rules), "tx_rate_limiter", limiter(rules)),
		   err);
}

void fc_id(const char *name, char ret[FC_ID_SIZE])
{
	size_t n = 0;
	for (; n < FC_ID_SIZE - 1 && name[n]; n++) {
		char c = name[n];
		bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c >= '0' && c <= '9');
		ret[n] = fine ? c : '-';
	}
	ret[n] = '\0';
}

int fc_device_layout(const struct vmm_config *c, char **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) text = { 0 };
	for (size_t i = 0; i < c->n_drives; i++)
		strbuf_addf(&text, "drive%zu:%s:%s ", i, c->drives[i].read_only ? "ro" : "rw",
			    fc_drive_name(&c->drives[i]));
	if (c->network)
		strbuf_adds(&text, "net:" GUEST_MAC " ");
	strbuf_addf(&text, "vsock:%d entropy", GUEST_CID);
	char *layout = text.failed ? NULL : strbuf_take(&text);
	if (!layout)
		return mvm_error_oom(err);
	*ret = layout;
	return 0;
}

int fc_cmdline(const struct vmm_probe *probe, const struct vmm_config *c, const char *additions,
	       char **ret, struct mvm_error *err)
{
	(void)probe;
	AUTO_DONE(strbuf) line = { 0 };
	/* Firecracker ends at a reset by the keyboard controller, and has no PCI by default */
	strbuf_adds(&line, "console=ttyS0 panic=-1 reboot=k pci=off");
	return cmdline_finish(&line, c, additions, ret, err);
}

/* symbols.c - the name of the function at an address, also of functions that are not exported.
 *
 * dladdr knows exported symbols only, and Tarn exports few; the table of all functions lies in the file that the code
 * was loaded from, unless it was stripped. The file is mapped for the look-up and read with every offset checked: it
 * may have been replaced since.
 */
#include "runtime/monitor/monitor_internal.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct mapped_file {
    const uint8_t *bytes;
    size_t size;
} mapped_file;

static const void *part(const mapped_file *file, uint64_t offset, uint64_t size)
{
    return offset <= file->size && size <= file->size - offset ? file->bytes + offset : NULL;
}

/* The function that contains `offset` (from the address the module was linked for) in a symbol table. */
static bool search(const mapped_file *file, const ElfW(Shdr) * table, const ElfW(Shdr) * strings, uint64_t offset,
                   char *name, size_t size, uint64_t *begin)
{
    const ElfW(Sym) *symbols = part(file, table->sh_offset, table->sh_size);
    const char *names = part(file, strings->sh_offset, strings->sh_size);
    if (!symbols || !names || !strings->sh_size || names[strings->sh_size - 1]) return false;
    for (uint64_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
        const ElfW(Sym) *symbol = &symbols[i];
        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || offset < symbol->st_value ||
            offset - symbol->st_value >= symbol->st_size || symbol->st_name >= strings->sh_size)
            continue;
        snprintf(name, size, "%s", names + symbol->st_name);
        *begin = symbol->st_value;
        return true;
    }
    return false;
}

static bool search_file(const mapped_file *file, uint64_t offset, char *name, size_t size, uint64_t *begin)
{
    const ElfW(Ehdr) *header = part(file, 0, sizeof *header);
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_shentsize != sizeof(ElfW(Shdr))) return false;
    const ElfW(Shdr) *sections = part(file, header->e_shoff, (uint64_t)header->e_shnum * sizeof *sections);
    for (int i = 0; sections && i < header->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < header->e_shnum &&
            search(file, &sections[i], &sections[sections[i].sh_link], offset, name, size, begin))
            return true;
    return false;
}

/* "tarn_apply+0x2f (/usr/bin/tarn+0x4f2a3)" */
void tarn_symbol_describe(const void *address, bool is_return, char *out, size_t size)
{
    Dl_info info = {0};
    struct link_map *map = NULL;
    char name[256] = "";
    /* A return address may belong to the function behind the one that called; the byte before it does not. */
    const char *inside = (const char *)address - is_return;
    if (!dladdr1(inside, &info, (void **)&map, RTLD_DL_LINKMAP) || !info.dli_fname || !map) {
        snprintf(out, size, "%p", address);
        return;
    }
    uint64_t offset = (uint64_t)(uintptr_t)inside - (uint64_t)map->l_addr, begin = 0;
    /* The name of the program itself is as it was started, perhaps from another folder. */
    const char *path = map->l_name && *map->l_name ? info.dli_fname : "/proc/self/exe";
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (descriptor >= 0 && !fstat(descriptor, &status) && status.st_size > 0) {
        mapped_file file = {.size = (size_t)status.st_size};
        void *bytes = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (bytes != MAP_FAILED) {
            file.bytes = bytes;
            if (!search_file(&file, offset, name, sizeof name, &begin)) *name = '\0';
            munmap(bytes, file.size);
        }
    }
    if (descriptor >= 0) close(descriptor);
    if (!*name && info.dli_sname) {
        snprintf(name, sizeof name, "%s", info.dli_sname);
        begin = (uint64_t)(uintptr_t)info.dli_saddr - (uint64_t)map->l_addr;
    }
    if (*name)
        snprintf(out, size, "%s+0x%llx (%s+0x%llx)", name, (unsigned long long)(offset - begin), info.dli_fname,
                 (unsigned long long)offset);
    else
        snprintf(out, size, "(%s+0x%llx)", info.dli_fname, (unsigned long long)offset);
}

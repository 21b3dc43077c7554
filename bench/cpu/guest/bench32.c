/* bench32.c - guest CPU micro-benchmarks, 32-bit static, i686.
 * Every test: calibrate by doubling until one batch takes >= cal_ms of GUEST time,
 * then run one measured batch of ~target_ms, printing host-visible markers:
 *   @@B <name> <iters>            just before the measured batch
 *   @@E <name> <iters> <guest_ns> <checksum>   just after
 *   @@X <name> <signal>                        instead, when the test died of a signal
 * Host takes wall time + instruction counter at each marker.  The last char of
 * a marker line is the '\n'; output is drained with tcdrain() before and after.
 * Each test runs in a child of its own, so that a CPU that lacks an instruction loses that row only.
 * fp.c is built twice, for the x87 and for SSE2, and both are linked in.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>
#include <signal.h>
#include <termios.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/io.h>
#include <sys/syscall.h>
#include <emmintrin.h>

/* The rest is for any i686: SSE2 in code of all tests would lose all rows where a CPU lacks it. */
#define SSE2 __attribute__((target("sse2")))

typedef uint32_t u32; typedef uint64_t u64; typedef uint8_t u8;
extern double nbody_x87(u32 n);   /* nbody.c -mfpmath=387 */
extern double nbody_sse(u32 n);   /* nbody.c -msse2 -mfpmath=sse */
extern double mandel_x87(u32 n);
extern double mandel_sse(u32 n);
extern u64 dgemm_x87(u32 n);
extern u64 dgemm_sse(u32 n);

static u64 now_ns(void){ struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return (u64)t.tv_sec*1000000000ull+t.tv_nsec; }
static u8 *buf;                   /* 8 MB scratch */
#define BUFSZ (8u<<20)

static u32 t_sieve(u32 n){ u32 c=0; u8*f=buf; while(n--){ memset(f,1,8192); c=0; for(u32 i=2;i<8192;i++) if(f[i]){ c++; for(u32 j=i+i;j<8192;j+=i) f[j]=0; } } return c; }

static u32 crct[256];
static u32 t_crc32(u32 n){ u32 c=~0u; while(n--){ u8*p=buf; for(u32 i=0;i<65536;i++) c=(c>>8)^crct[(c^p[i])&255]; } return ~c; }

static int ma[64*64],mb[64*64],mc[64*64];
__attribute__((optimize("no-tree-vectorize"))) static u32 t_matmul(u32 n){ while(n--){ for(int i=0;i<64;i++) for(int j=0;j<64;j++){ int s=0; for(int k=0;k<64;k++) s+=ma[i*64+k]*mb[k*64+j]; mc[i*64+j]=s; } ma[n&4095]+=mc[(n*7)&4095]; } return mc[77]; }

__attribute__((noinline,noclone,optimize("O1"))) static u32 fib(u32 n){ return n<2?n:fib(n-1)+fib(n-2); }
static u32 t_fib(u32 n){ u32 s=0; while(n--) s+=fib(20); return s; }

static u32 t_repmovsd(u32 n){ while(n--){ void*d=buf+(4<<20)+(37<<12),*s=buf; u32 c=(1<<20)/4; __asm__ volatile("cld; rep movsl":"+D"(d),"+S"(s),"+c"(c)::"memory"); } return buf[5<<20]; }
static u32 t_repstosd(u32 n){ while(n--){ void*d=buf+(4<<20)+(37<<12); u32 c=(1<<20)/4; __asm__ volatile("cld; rep stosl":"+D"(d),"+c"(c):"a"(n):"memory"); } return buf[5<<20]; }
SSE2 static u32 t_memcpy_sse(u32 n){ while(n--){ __m128i*d=(void*)(buf+(4<<20)+(37<<12)),*s=(void*)buf; for(u32 i=0;i<(1<<20)/16;i+=4){ __m128i a=_mm_load_si128(s+i),b=_mm_load_si128(s+i+1),c=_mm_load_si128(s+i+2),e=_mm_load_si128(s+i+3); _mm_store_si128(d+i,a);_mm_store_si128(d+i+1,b);_mm_store_si128(d+i+2,c);_mm_store_si128(d+i+3,e);} __asm__ volatile("":::"memory"); } return buf[5<<20]; }
__attribute__((optimize("no-tree-vectorize","no-tree-loop-distribute-patterns"))) static u32 t_memcpy_c32(u32 n){ while(n--){ u32*d=(u32*)(buf+(4<<20)+(37<<12)),*s=(u32*)buf; for(u32 i=0;i<(1<<20)/4;i++) d[i]=s[i]; __asm__ volatile("":::"memory"); } return buf[5<<20]; }
SSE2 static u32 t_sse_int(u32 n){ __m128i acc=_mm_setzero_si128(); while(n--){ __m128i*s=(void*)buf; for(u32 i=0;i<4096;i++){ __m128i v=_mm_load_si128(s+i); acc=_mm_add_epi16(acc,_mm_madd_epi16(v,_mm_unpacklo_epi8(v,acc))); acc=_mm_xor_si128(acc,_mm_srli_epi32(v,3)); } } return _mm_cvtsi128_si32(acc); }

/* bytecode interpreter: indirect branches through a table */
static u32 t_interp(u32 n){ static const u8 prog[]={0,1,2,3,0,2,1,4,3,0,5,2,1,6,0,4,7}; u32 a=1,b=2,c=3;
 static void*lab[]={&&L0,&&L1,&&L2,&&L3,&&L4,&&L5,&&L6,&&L7}; 
 for(;;){ const u8*p=prog;
 #define NEXT goto *lab[*p++]
 NEXT; L0:a+=b;NEXT; L1:b^=c;NEXT; L2:c=(c<<1)|(c>>31);NEXT; L3:a-=c;NEXT; L4:b+=a>>3;NEXT; L5:c^=a;NEXT; L6:a*=3;NEXT; L7: if(!--n) return a+b+c; } }

static int cmpu(const void*a,const void*b){ u32 x=*(u32*)a,y=*(u32*)b; return x<y?-1:x>y; }
static u32 t_qsort(u32 n){ u32 *p=(u32*)buf,s=0; while(n--){ u32 r=12345; for(int i=0;i<4096;i++){ r=r*1664525+1013904223; p[i]=r; } qsort(p,4096,4,cmpu); s+=p[100]; } return s; }

static u32 t_mul64(u32 n){ u64 x=88172645463325252ull; while(n--){ for(int i=0;i<1000;i++){ x=x*6364136223846793005ull+1442695040888963407ull; x^=x>>33; } } return (u32)(x>>32); }
static u32 t_div(u32 n){ u32 s=1; u64 q=0x123456789abcdefull; while(n--){ for(u32 i=1;i<=1000;i++){ s+=0xfffffff0u/(i|1); s^=s%(i+7); q+=(q>>7)/(i+3); } } return s^(u32)q; }

/* pointer chase over 4 MB, one node per 64B, random order: data TLB + cache stress */
static u32 chase_inited;
static void chase_init(void){ if(chase_inited) return; chase_inited=1; u32 N=(4u<<20)/64; u32*perm=malloc(N*4); for(u32 i=0;i<N;i++) perm[i]=i; u32 r=1; for(u32 i=N-1;i>0;i--){ r=r*1664525+1013904223; u32 j=(r>>8)%(i+1); u32 t=perm[i];perm[i]=perm[j];perm[j]=t; } for(u32 i=0;i<N;i++) *(u32*)(buf+(4<<20)-(4<<20)+(u64)perm[i]*64)=(u32)(buf+(u64)perm[(i+1)%N]*64); free(perm); }
static u32 t_chase(u32 n){ chase_init(); u32 p=(u32)buf; while(n--) for(int i=0;i<1000;i++) p=*(u32*)p; return p-(u32)buf; }

static u32 rotr(u32 x,int k){ return (x>>k)|(x<<(32-k)); }
static u32 K[64];
static u32 t_sha256c(u32 n){ u32 H[8]={0x6a09e667,0xbb67ae85,0x3c6ef372,0xa54ff53a,0x510e527f,0x9b05688c,0x1f83d9ab,0x5be0cd19};
 while(n--){ u32 w[64]; for(int i=0;i<16;i++) w[i]=((u32*)buf)[i]+n; for(int i=16;i<64;i++){ u32 a=w[i-15],b=w[i-2]; w[i]=w[i-16]+(rotr(a,7)^rotr(a,18)^(a>>3))+w[i-7]+(rotr(b,17)^rotr(b,19)^(b>>10)); }
 u32 a=H[0],b=H[1],c=H[2],d=H[3],e=H[4],f=H[5],g=H[6],h=H[7]; for(int i=0;i<64;i++){ u32 t1=h+(rotr(e,6)^rotr(e,11)^rotr(e,25))+((e&f)^(~e&g))+K[i]+w[i],t2=(rotr(a,2)^rotr(a,13)^rotr(a,22))+((a&b)^(a&c)^(b&c)); h=g;g=f;f=e;e=d+t1;d=c;c=b;b=a;a=t1+t2; }
 H[0]+=a;H[1]+=b;H[2]+=c;H[3]+=d;H[4]+=e;H[5]+=f;H[6]+=g;H[7]+=h; } return H[0]; }

static u32 t_strops(u32 n){ u32 s=0; char*p=(char*)buf; while(n--){ memset(p,'a',2000); p[2000]=0; __asm__ volatile("":::"memory"); u32 c=~0u; char*d=p; __asm__ volatile("cld; repne scasb":"+D"(d),"+c"(c):"a"(0):"memory"); s+=~c; for(char*q=p;*q;q++) if(*q=='b') s++; } return s; }

/* OS-heavy */
static u32 t_syscall(u32 n){ u32 s=0; while(n--){ u32 r; __asm__ volatile("int $0x80":"=a"(r):"a"(SYS_getppid):"memory"); s+=r; } return s; }
static u32 t_pagefault(u32 n){ while(n--){ u8*p=mmap(0,64*4096,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); for(int i=0;i<64;i++) p[i*4096]=1; munmap(p,64*4096); } return 0; }
static u32 t_fork(u32 n){ while(n--){ pid_t p=fork(); if(!p) _exit(0); int st; waitpid(p,&st,0); } return 0; }
static u32 t_exec(u32 n){ while(n--){ pid_t p=vfork(); if(!p){ execl("/bin/bench32","bench32","--nop",(char*)0); _exit(1);} int st; waitpid(p,&st,0); } return 0; }
static u32 t_pipepp(u32 n){ int a[2],b[2]; u8 c=0; if(pipe(a)||pipe(b)) return 0; pid_t p=fork(); if(!p){ close(a[1]); close(b[0]); while(read(a[0],&c,1)==1) if(write(b[1],&c,1)!=1) break; _exit(0);} close(a[0]); close(b[1]); while(n--){ if(write(a[1],&c,1)!=1||read(b[0],&c,1)!=1) break; } close(a[1]); close(b[0]); int st; waitpid(p,&st,0); return c; }
/* self-modifying / JIT-like: rewrite an immediate in a function, call it 100x */
static u32 t_smc(u32 n){ static u8*x; if(!x){ x=mmap(0,4096,PROT_READ|PROT_WRITE|PROT_EXEC,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); u8 code[]={0xb8,0,0,0,0,0x05,1,0,0,0,0xc3}; memcpy(x,code,sizeof code);} u32 s=0; while(n--){ *(volatile u32*)(x+1)=n; __asm__ volatile("":::"memory"); u32(*f)(void)=(u32(*)(void))x; for(int i=0;i<100;i++) s+=f(); } return s; }
static u32 t_outb(u32 n){ while(n--) outb(0,0x80); return 0; }
static u32 t_inb(u32 n){ u32 s=0; while(n--) s+=inb(0x61); return s; }   /* port handled by PIT/speaker logic */

static u32 w_nbx(u32 n){ double d=nbody_x87(n); u64 u; memcpy(&u,&d,8); return (u32)u; }
static u32 w_nbs(u32 n){ double d=nbody_sse(n); u64 u; memcpy(&u,&d,8); return (u32)u; }
static u32 w_mx(u32 n){ return (u32)mandel_x87(n); }
static u32 w_ms(u32 n){ return (u32)mandel_sse(n); }
static u32 w_dx(u32 n){ return (u32)dgemm_x87(n); }
static u32 w_ds(u32 n){ return (u32)dgemm_sse(n); }

struct T{ const char*name; u32(*f)(u32); const char*unit; double per; } T[]={
 {"sieve8k",t_sieve,"sieves",1},{"crc32_64k",t_crc32,"MB",65536/1048576.0},{"matmul64",t_matmul,"Mmac",64*64*64/1e6},{"fib20",t_fib,"Mcall",21891/1e6},
 {"interp",t_interp,"Mop",17/1e6},{"qsort4k",t_qsort,"sorts",1},{"mul64",t_mul64,"Mop",1e-3},{"div",t_div,"Mdiv",3e-3},{"chase4M",t_chase,"Mload",1e-3},{"sha256c",t_sha256c,"MB",64/1048576.0},
 {"strops",t_strops,"Kop",1e-3},{"repmovsd1M",t_repmovsd,"MB",1},{"repstosd1M",t_repstosd,"MB",1},{"memcpy_c32",t_memcpy_c32,"MB",1},{"memcpy_sse",t_memcpy_sse,"MB",1},{"sse_int",t_sse_int,"MB",65536/1048576.0},
 {"nbody_x87",w_nbx,"steps",1},{"nbody_sse",w_nbs,"steps",1},{"mandel_x87",w_mx,"Miter",1e-3},{"mandel_sse",w_ms,"Miter",1e-3},{"dgemm_x87",w_dx,"Mflop",2*32*32*32/1e6},{"dgemm_sse",w_ds,"Mflop",2*32*32*32/1e6},
 {"syscall",t_syscall,"Kcall",1e-3},{"pagefault64",t_pagefault,"Kfault",64e-3},{"fork",t_fork,"forks",1},{"exec",t_exec,"execs",1},{"pipepp",t_pipepp,"Krt",1e-3},{"smc",t_smc,"Kmod",1e-3},{"outb80",t_outb,"Kio",1e-3},{"inb61",t_inb,"Kio",1e-3},
 {0,0,0,0}};

static void say(const char*s){ fflush(stdout); if(write(1,s,strlen(s))<0){} tcdrain(1); }

static void run(struct T*t,u32 cal_ms,u32 target_ms){
 char line[256]; u32 n=1; u64 dt=0; chase_inited=0;
 for(;;){ u64 a=now_ns(); t->f(n); dt=now_ns()-a; if(dt>=(u64)cal_ms*1000000||n>=1u<<30) break; n*=2; }
 u64 m=(u64)((double)n*target_ms*1e6/(dt?dt:1)); if(m<1) m=1; if(m>0xfffffff0u) m=0xfffffff0u;
 snprintf(line,256,"@@B %s %u %s %.9g\n",t->name,(u32)m,t->unit,t->per); say(line);
 u64 a=now_ns(); u32 r=t->f((u32)m); dt=now_ns()-a;
 snprintf(line,256,"@@E %s %u %llu %08x\n",t->name,(u32)m,(unsigned long long)dt,r); say(line); }

/* fixed n: checksums are comparable across emulators and with the host */
static void verify(struct T*t,u32 a,u32 b){ (void)a; (void)b;
 char line[256]; u32 r=t->f(3); snprintf(line,256,"@@V %s %08x\n",t->name,r); say(line); }

static void isolated(struct T*t,void(*f)(struct T*,u32,u32),u32 a,u32 b){
 int st=0; pid_t p=fork(); if(!p){ f(t,a,b); _exit(0); }
 waitpid(p,&st,0); if(!WIFSIGNALED(st)) return;
 char line[256]; snprintf(line,256,"@@X %s %d\n",t->name,WTERMSIG(st)); say(line); }

static int wanted(const struct T*t,const char*only){
 char pat[64],lst[512]; if(!only||!*only) return 1;
 snprintf(pat,64,",%s,",t->name); snprintf(lst,512,",%s,",only); return strstr(lst,pat)!=0; }

int main(int argc,char**argv){
 if(argc>1&&!strcmp(argv[1],"--nop")) return 0;
 buf=mmap(0,BUFSZ,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); for(u32 i=0;i<BUFSZ;i++) buf[i]=(u8)(i*131+(i>>9));
 for(u32 i=0;i<256;i++){ u32 c=i; for(int k=0;k<8;k++) c=c&1?(c>>1)^0xedb88320u:c>>1; crct[i]=c; }
 for(int i=0;i<4096;i++){ ma[i]=i*7; mb[i]=i^0x55; } for(int i=0;i<64;i++) K[i]=0x428a2f98u*(i+1);
 if(argc>1&&!strcmp(argv[1],"verify")){
  for(struct T*t=T;t->name&&strcmp(t->name,"syscall");t++) if(wanted(t,argc>2?argv[2]:0)) isolated(t,verify,0,0);
  return 0; }
 if(ioperm(0x80,1,1)||ioperm(0x61,1,1)) perror("ioperm");
 u32 cal_ms=argc>1?atoi(argv[1]):150,target_ms=argc>2?atoi(argv[2]):1000;
 for(struct T*t=T;t->name;t++) if(wanted(t,argc>3?argv[3]:0)) isolated(t,run,cal_ms,target_ms);
 return 0; }

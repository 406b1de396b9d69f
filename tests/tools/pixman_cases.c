/* Composite operations through libpixman, for src/canvas/composite/tests.rs. Reads cases, prints "case = pixels".
 * cc -O1 -o pixman_cases pixman_cases.c $(pkg-config --cflags --libs pixman-1)
 * Case: operator, destination format, width, height, seed, whether bytes are extreme | source: format, width, height,
 * repeat, filter, transform or -, origin x y | mask: the same, format - for none, then component alpha. */
#include <pixman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
static uint32_t prng;
static uint8_t rnd(void){prng^=prng<<13;prng^=prng>>17;prng^=prng<<5;return prng>>16;}
static const uint8_t ext[8]={0,255,1,254,127,128,0,255};
static uint8_t byte(int mode){uint8_t r=rnd(); return mode? ext[r&7]: r;}
static pixman_format_code_t fc(const char*s){
 if(!strcmp(s,"argb"))return PIXMAN_a8r8g8b8; if(!strcmp(s,"xrgb"))return PIXMAN_x8r8g8b8;
 if(!strcmp(s,"a8"))return PIXMAN_a8; if(!strcmp(s,"a1"))return PIXMAN_a1;
 if(!strcmp(s,"565"))return PIXMAN_r5g6b5; return PIXMAN_x1r5g5b5;}
static int bpp(const char*s){return PIXMAN_FORMAT_BPP(fc(s));}
typedef struct{pixman_image_t*i;uint32_t*d;int stride,w,h,bpp;}Im;
static uint32_t get(Im*m,int x,int y){uint8_t*p=(uint8_t*)m->d+y*m->stride;
 switch(m->bpp){case 1:return p[x>>3]>>(x&7)&1;case 8:return p[x];case 16:return ((uint16_t*)p)[x];default:return ((uint32_t*)p)[x];}}
static Im mk(const char*f,int w,int h,int mode){Im m;m.w=w;m.h=h;m.bpp=bpp(f);m.stride=(w*m.bpp+31)/32*4;m.d=calloc(h*m.stride+64,1);
 for(int y=0;y<h;y++)for(int x=0;x<w;x++){uint32_t v=byte(mode);v=v<<8|byte(mode);v=v<<8|byte(mode);v=v<<8|byte(mode);
  uint8_t*p=(uint8_t*)m.d+y*m.stride;
  switch(m.bpp){case 1:if(v&1)p[x>>3]|=1<<(x&7);break;case 8:p[x]=v;break;case 16:((uint16_t*)p)[x]=v;break;default:((uint32_t*)p)[x]=v;}}
 m.i=pixman_image_create_bits(fc(f),w,h,m.d,m.stride);return m;}
static pixman_filter_t flt(int n){return (pixman_filter_t[]){PIXMAN_FILTER_FAST,PIXMAN_FILTER_GOOD,PIXMAN_FILTER_BEST,PIXMAN_FILTER_NEAREST,PIXMAN_FILTER_BILINEAR}[n];}
static void setup(Im*m,int rep,int f,const char*t){
 pixman_image_set_repeat(m->i,rep); pixman_image_set_filter(m->i,flt(f),NULL,0);
 int v[6]; if(sscanf(t,"%d,%d,%d,%d,%d,%d",v,v+1,v+2,v+3,v+4,v+5)==6){pixman_transform_t T={{{v[0],v[1],v[2]},{v[3],v[4],v[5]},{0,0,65536}}};pixman_image_set_transform(m->i,&T);}}
int main(int c,char**v){char line[1024];
 while(fgets(line,sizeof line,stdin)){line[strcspn(line,"\n")]=0;
  char df[8],sf[8],mf[8],st[128],mt[128];int op,w,h,mode,sw,sh,sr,sfl,sx,sy,mw,mh,mr,mfl,mx,my,ca;unsigned seed;
  int n=sscanf(line,"%i %7s %d %d %u %d | %7s %d %d %d %d %127s %d %d | %7s %d %d %d %d %127s %d %d %d",&op,df,&w,&h,&seed,&mode,sf,&sw,&sh,&sr,&sfl,st,&sx,&sy,mf,&mw,&mh,&mr,&mfl,mt,&mx,&my,&ca);
  if(n!=23){fprintf(stderr,"bad %d: %s\n",n,line);return 1;}
  prng=seed;
  Im d=mk(df,w,h,mode),s=mk(sf,sw,sh,mode),m={0};
  setup(&s,sr,sfl,st);
  if(strcmp(mf,"-")){m=mk(mf,mw,mh,mode);setup(&m,mr,mfl,mt);pixman_image_set_component_alpha(m.i,ca);}
  pixman_image_composite32(op,s.i,m.i,d.i,sx,sy,mx,my,0,0,w,h);
  uint32_t mask=!strcmp(df,"xrgb")?0xffffff:!strcmp(df,"555")?0x7fff:0xffffffff;
  printf("%s = ",line);
  for(int y=0;y<h;y++)for(int x=0;x<w;x++)printf("%0*x",(d.bpp+3)/4,get(&d,x,y)&mask);
  putchar('\n');
  pixman_image_unref(d.i);pixman_image_unref(s.i);if(m.i)pixman_image_unref(m.i);free(d.d);free(s.d);free(m.d);
 }}

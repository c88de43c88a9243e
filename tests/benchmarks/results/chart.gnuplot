set terminal svg size 900,780 font 'sans-serif,13' background rgb 'white'
set output 'chart.svg'
set title 'Time over the limit that memory sets (f32, 2 threads)'
set xlabel 'multiple of the limit; shorter is better' offset 0,0.6
set rmargin 12
set key below center horizontal samplen 2
set logscale x 2
set xrange [0.5:*]
set yrange [21:-1]
set grid xtics lc rgb '#d0d0d0' lt 1
set border 2
set tics nomirror scale 0
set style fill solid noborder
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#404040'
set ytics ('infer  nchw 32x256x56x56' 0, 'infer  nchw 32x2048x7x7' 1, 'infer  nhwc 32x512x28x28' 2, 'infer  nhwc 1x64x112x112' 3, 'infer  nc 64x512' 4, 'infer  nc 1024x1024' 5, 'infer  nc 16384x512' 6, 'train  nchw 32x256x56x56' 7, 'train  nchw 32x2048x7x7' 8, 'train  nhwc 32x512x28x28' 9, 'train  nhwc 1x64x112x112' 10, 'train  nc 64x512' 11, 'train  nc 1024x1024' 12, 'train  nc 16384x512' 13, 'backward  nchw 32x256x56x56' 14, 'backward  nchw 32x2048x7x7' 15, 'backward  nhwc 32x512x28x28' 16, 'backward  nhwc 1x64x112x112' 17, 'backward  nc 64x512' 18, 'backward  nc 1024x1024' 19, 'backward  nc 16384x512' 20)
$rows << end_of_rows
0 1.01611 1.45193 "1.02" "1.45 libtorch"
1 1.51511 1.8479 "1.52" "1.85 libtorch"
2 0.955157 1.09409 "0.96" "1.09 oneDNN"
3 1.11619 3.00273 "1.12" "3.00 libtorch"
4 1.1349 3.11259 "1.13" "3.11 oneDNN*"
5 1.21064 2.90974 "1.21" "2.91 libtorch"
6 0.977252 1.1331 "0.98" "1.13 oneDNN*"
7 0.852748 3.86843 "0.85" "3.87 libtorch"
8 3.57897 11.0538 "3.58" "11.05 libtorch"
9 1.02646 1.54849 "1.03" "1.55 libtorch"
10 1.42409 2.69589 "1.42" "2.70 oneDNN"
11 5.09529 7.46833 "5.10" "7.47 oneDNN*"
12 2.70257 2.86235 "2.70" "2.86 oneDNN*"
13 1.55199 2.10575 "1.55" "2.11 libtorch"
14 0.786101 0.942432 "0.79" "0.94 libtorch"
15 2.74986 6.81593 "2.75" "6.82 libtorch"
16 1.16038 1.19509 "1.16" "1.20 libtorch"
17 1.77053 2.3226 "1.77" "2.32 libtorch"
18 5.84065 5.41679 "5.84" "5.42 oneDNN*"
19 2.2362 2.52993 "2.24" "2.53 libtorch"
20 1.81013 1.97208 "1.81" "1.97 oneDNN*"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle
